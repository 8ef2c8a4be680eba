package tokens

import (
	"encoding/base64"
	"encoding/hex"
)

func encodeHex(b [32]byte) string { return hex.EncodeToString(b[:]) }

func encode(b [32]byte) string { return base64.RawURLEncoding.EncodeToString(b[:]) }
