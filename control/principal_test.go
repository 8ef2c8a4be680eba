package control_test

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// A token is asked for where one is known, at every door that has a place for it.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	if _, err := control.NewAuthenticator([]string{"one"}); err == nil {
		t.Error("a token instead of its hash was taken")
	}
	closed, err := control.NewAuthenticator([]string{control.HashToken("one"), control.HashToken("two")})
	noError(t, err)
	for _, c := range []struct {
		from control.Credentials
		code wire.Code
	}{
		{control.Credentials{Token: "two"}, ""},
		{control.Credentials{Door: control.DoorNative, Token: "one"}, ""},
		{control.Credentials{Door: control.DoorLECO}, ""},
		{control.Credentials{}, wire.CodeUnauthorized},
		{control.Credentials{Token: "three"}, wire.CodeUnauthorized},
		{control.Credentials{Token: control.HashToken("one")}, wire.CodeUnauthorized},
		{control.Credentials{Door: control.DoorNative, Secret: "a secret"}, wire.CodeUnauthorized},
	} {
		who, err := closed.Authenticate(c.from)
		if wire.CodeOf(err) != c.code {
			t.Errorf("%+v: got %v, want %q", c.from, err, c.code)
		}
		if err := closed.Authorize(who, control.ComponentsRead, control.Thing{}); wire.CodeOf(err) != c.code {
			t.Errorf("%+v: authorized with %v, want %q", c.from, err, c.code)
		}
	}
}

// No use case is open to a principal that no door has let in.
func TestEveryUseCaseAuthorizes(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		var err error
		synctest.Wait() // it runs
		w.nodes["n1"].stop()
		w.authenticator, err = control.NewAuthenticator([]string{control.HashToken("one")})
		noError(t, err)
		w.start("n1")
		synctest.Wait()
		n1, tried := reflect.ValueOf(w.nodes["n1"].UseCases), 0
		for i := range n1.NumMethod() {
			use, name := n1.Method(i), n1.Type().Method(i).Name
			args, asks := useCaseArgs(t, use.Type())
			if !asks || notUseCases[name] {
				continue
			}
			tried++
			out := use.Call(args)
			if err, _ := out[len(out)-1].Interface().(error); wire.CodeOf(err) != wire.CodeUnauthorized {
				t.Errorf("%s: got %v, want it refused as unauthorized", name, err)
			}
		}
		if tried < 30 {
			t.Errorf("%d use cases were tried, want at least 30", tried)
		}
	}, "n1")
}

// notUseCases take a principal and carry nothing out.
var notUseCases = map[string]bool{"Authorize": true, "AuthorizeJoin": true, "AuthorizeRow": true, "Filtered": true, "Hold": true, "Readable": true, "SameToken": true, "Session": true, "SessionToken": true, "ViewFor": true, "WithTokenName": true}

// useCaseArgs are zero arguments of a function, and whether one is a principal.
func useCaseArgs(t *testing.T, f reflect.Type) (args []reflect.Value, asks bool) {
	for i := range f.NumIn() {
		switch in := f.In(i); in {
		case reflect.TypeFor[context.Context]():
			args = append(args, reflect.ValueOf(t.Context()))
		case reflect.TypeFor[control.Principal]():
			asks = true
			args = append(args, reflect.ValueOf(anyone))
		default:
			args = append(args, reflect.Zero(in))
		}
	}
	return args, asks
}

// The log names who did it.
func TestTheLogNamesItsAuthor(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1 := w.nodes["n1"]
		n1.signIn(t, "laser")
		job := n1.submit(t, "j1", 1)
		_, _, err := n1.CancelJob(t.Context(), named("n1.ann"), job, "")
		noError(t, err)
		if got := w.author(); got != "n1.ann" {
			t.Errorf("the job was cancelled by %q, want n1.ann", got)
		}
		_, err = n1.RemoveComponent(t.Context(), present(control.Credentials{Remote: "10.0.0.7:4711"}), "n1.laser", "")
		noError(t, err)
		if got := w.author(); got != "10.0.0.7:4711" {
			t.Errorf("the component was removed by %q, want the address it was asked from", got)
		}
	}, "n1")
}
