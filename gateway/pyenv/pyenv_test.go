package pyenv_test

import (
	"testing"

	"github.com/folkmoot/folkmoot/gateway/pyenv"
)

// Makes the environment, so that the tests which need it find it.
func TestPython(t *testing.T) {
	t.Log(pyenv.Python(t, pyenv.LECO...))
}
