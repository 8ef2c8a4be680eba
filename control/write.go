package control

import (
	"errors"

	"github.com/folkmoot/folkmoot/wire"
)

// WriteError keeps a *wire.Error and turns everything else into unknown: of an
// error without a code nobody can say what happened.
func WriteError(err error) error {
	var known *wire.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return wire.Unknown(err)
}
