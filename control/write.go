package control

import (
	"errors"

	"github.com/folkmoot/folkmoot/fsm/propose"
	"github.com/folkmoot/folkmoot/wire"
)

// writeTimeout bounds a write whose door gave no deadline of its own.
const writeTimeout = propose.Timeout

// asWire keeps a *wire.Error and turns everything else into unknown: of an
// error without a code nobody can say what happened.
func asWire(err error) error {
	var known *wire.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return wire.Unknown(err)
}
