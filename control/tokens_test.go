package control_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/wire"
)

// askFor starts a coordinator again so that it asks for these tokens.
func (w *testCluster) askFor(id string, tokens ...string) {
	w.t.Helper()
	synctest.Wait()
	w.nodes[id].stop()
	hashes := make([]string, len(tokens))
	for i, token := range tokens {
		hashes[i] = control.HashToken(token)
	}
	var err error
	w.authenticator, err = control.NewAuthenticator(hashes)
	noError(w.t, err)
	w.start(id)
	synctest.Wait()
}

// bearer is who presents a token at a coordinator.
func (s *testNode) bearer(t *testing.T, token string) control.Principal {
	t.Helper()
	who, err := s.Authenticate(control.Credentials{Token: token})
	noError(t, err)
	return who
}

// What is under way by a token that is taken out of the file ends at once, and nothing begins by it.
func TestATokenTakenOutEndsWhatItBegan(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.askFor("n1", "one", "two")
		n1 := w.nodes["n1"]
		one, two := n1.bearer(t, "one"), n1.bearer(t, "two")
		_, _, err := n1.Submit(t.Context(), two, wire.SubmitJob{ID: "j1", Runtime: "sh", Script: "true", Range: &wire.Range{To: 1}}, "")
		noError(t, err)
		in, err := n1.SignIn(t.Context(), two, wire.SignIn{Name: "laser", Lease: wire.Duration(time.Hour)}, "")
		noError(t, err)
		withSecret, err := n1.Authenticate(control.Credentials{Token: "one", Secret: in.Secret})
		noError(t, err)
		inbox, err := n1.Inbox(t.Context(), withSecret, in.FullName)
		noError(t, err)
		cursor, err := n1.Events(one, nil, nil)
		noError(t, err)
		results, _, err := n1.Results(t.Context(), one, control.Read{}, "j1", work.ResultQuery{Follow: true})
		noError(t, err)
		logs, err := n1.JobLogs(t.Context(), one, "j1", -1, true)
		noError(t, err)
		wait := control.Read{Index: n1.State().Index, Wait: 5 * time.Minute}
		under := map[string]func() error{
			"events": func() error { _, _, err := cursor.Next(t.Context()); return err },
			"components": func() error {
				_, _, err := n1.Components(t.Context(), one, wait, directory.ComponentFilter{}, control.Page{})
				return err
			},
			"a job": func() error { _, err := n1.AwaitJob(t.Context(), one, "j1", 30*time.Second); return err },
			"inbox": func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				_, err := inbox.Receive(ctx, 0, 0)
				return err
			},
			"results": func() (last error) {
				for _, last = range results {
				}
				return last
			},
			"logs": func() (last error) {
				for _, last = range logs {
				}
				return last
			},
		}
		type end struct {
			what  string
			err   error
			after time.Duration
		}
		began, ends := time.Now(), make(chan end, len(under))
		for what, f := range under {
			go func() { ends <- end{what, f(), time.Since(began)} }()
		}
		time.Sleep(10 * time.Second)
		noError(t, w.authenticator.SetFile([]string{control.HashToken("two")}))
		for range under {
			e := <-ends
			if wire.CodeOf(e.err) != wire.CodeUnauthorized || e.after < 10*time.Second || e.after > 12*time.Second {
				t.Errorf("%s ended after %v with %v, want it unauthorized within 2 s of 10 s", e.what, e.after, e.err)
			}
		}
		_, err = n1.Authenticate(control.Credentials{Token: "one"})
		refused(t, err, wire.CodeUnauthorized, "")
		_, err = n1.Names(one)
		refused(t, err, wire.CodeUnauthorized, "not valid any more")
		_, err = n1.Names(two)
		noError(t, err)
	}, "n1")
}
