package wire

// Depth is how deep lists and objects are nested in a JSON value: 0 in a number,
// 2 in [[1]]. Of what is no JSON it says nothing of use, and does not fail.
func Depth(value []byte) (deepest int) {
	depth := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(value) && value[i] != '"'; i++ {
				if value[i] == '\\' {
					i++
				}
			}
		}
	}
	return deepest
}
