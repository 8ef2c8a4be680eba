package strictjson_test

import (
	"testing"

	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func TestDepth(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{
		``: 0, `1`: 0, `"[["`: 0, `[]`: 1, `{"a":[1],"b":{"c":[2]}}`: 3, `[[],[[]],[]]`: 3, `"\"[",[`: 1, `["\\",[["x`: 3, `]][`: 0,
	} {
		if got := strictjson.Depth([]byte(value)); got != want {
			t.Errorf("Depth(%s) = %d, want %d", value, got, want)
		}
	}
}
