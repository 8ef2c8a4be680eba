package strictjson

// scanner steps through JSON without building anything from it. It does not
// judge: on text that is no JSON it stops early and never fails.
type scanner struct {
	text []byte
	at   int
}

// next skips blanks and returns the byte that follows, 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.text); s.at++ {
		if c := s.text[s.at]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

// accept consumes c if it comes next.
func (s *scanner) accept(c byte) bool {
	if s.next() != c {
		return false
	}
	s.at++
	return true
}

// skipString consumes the string whose opening quote is at s.at and returns it
// with its quotes; a string that is cut off reaches to the end of the text.
func (s *scanner) skipString() []byte {
	from := s.at
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return s.text[from:s.at]
		}
	}
	s.at = len(s.text)
	return s.text[from:]
}

// skipValue consumes one value of any kind.
func (s *scanner) skipValue() {
	depth := 0
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case '"':
			s.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return
			}
		case ',':
			if depth == 0 {
				return
			}
		}
		s.at++
	}
}
