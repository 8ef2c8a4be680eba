package fsm

import (
	"encoding/json"
	"fmt"
)

// As returns the value of a wire.Result as R: it is an R already, or the JSON
// of one when the answer came from another coordinator. No value is a zero R.
func As[R any](v any) (R, error) {
	var r R
	switch v := v.(type) {
	case R:
		return v, nil
	case nil:
		return r, nil
	case json.RawMessage:
		return r, decodeValue(v, &r)
	case []byte:
		return r, decodeValue(v, &r)
	}
	return r, fmt.Errorf("the value of a command is %T, not %T", v, r)
}

// decodeValue ignores fields it does not know: the other coordinator may be
// newer. A frequent value reads its usual layout itself.
func decodeValue(b []byte, into any) error {
	if _, empty := into.(*struct{}); empty && string(b) == "{}" {
		return nil
	}
	if q, ok := into.(interface{ DecodeFast(body []byte) bool }); ok {
		if q.DecodeFast(b) {
			return nil
		}
		reset(into)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("the value of a command is no %T: %w", into, err)
	}
	return nil
}
