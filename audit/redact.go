package audit

import (
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// redacted stands in a line for a secret that a caller has put where it does not belong.
const redacted = "[secret]"

// WithoutSecrets returns a text without what looks like a secret that is made here: a token, a join token, and what
// follows a session's id in the secret of the session. A caller may have put one into a path by mistake, and a line is
// kept for long.
func WithoutSecrets(s string) string {
	s = withoutSessionSecret(s) // first: a session's id could be taken for a part of a token
	for _, prefix := range [...]string{wire.TokenPrefix, wire.JoinTokenPrefix} {
		s = withoutToken(s, prefix)
	}
	return s
}

// shortestSecret is from how many characters behind its beginning something is taken for a secret.
const shortestSecret = 20

func withoutToken(s, prefix string) string {
	var kept strings.Builder
	for {
		at := strings.Index(s, prefix)
		if at < 0 {
			break
		}
		end := at + len(prefix) + secretLength(s[at+len(prefix):])
		if end-at < len(prefix)+shortestSecret {
			kept.WriteString(s[:end])
		} else {
			kept.WriteString(s[:at] + redacted)
		}
		s = s[end:]
	}
	if kept.Len() == 0 {
		return s
	}
	return kept.String() + s
}

// secretLength is how many characters of base64url, or of the separator in join tokens, a text begins with.
func secretLength(s string) int {
	rest := strings.TrimLeft(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
	return len(s) - len(rest)
}

// idLength is that of a session's id, a UUID.
const idLength = 36

// withoutSessionSecret removes what stands behind a UUID and a dot.
func withoutSessionSecret(s string) string {
	for from := 0; ; {
		dot := strings.IndexByte(s[from:], '.')
		if dot < 0 {
			return s
		}
		dot += from
		from = dot + 1
		n := secretLength(s[from:])
		if n >= shortestSecret && dot >= idLength && isUUID(s[dot-idLength:dot]) {
			s = s[:from] + redacted + s[from+n:]
		}
	}
}

func isUUID(s string) bool {
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
			return false
		}
	}
	return true
}
