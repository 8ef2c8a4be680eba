package strictjson

// Depth returns how deep lists and objects are nested in a JSON value: 0 in a
// number, 2 in [[1]]. For text that is no JSON the answer means nothing, but
// Depth does not fail.
func Depth(value []byte) (deepest int) {
	s := scanner{text: value}
	for depth := 0; s.at < len(value); s.at++ {
		switch value[s.at] {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		case '"':
			s.skipString()
			s.at--
		}
	}
	return deepest
}
