package control_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/control/directory"
	"github.com/folkmoot/folkmoot/control/work"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/registry"
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

// newestLevel raises the cluster's level, so that there are tokens in the state.
func (w *testCluster) newestLevel() {
	w.t.Helper()
	for id := range w.nodes {
		self := w.self(id)
		self.Level = fsm.Level
		noError(w.t, resultError(w.apply(registry.KindAnnounce, registry.Announce{Coordinator: self})))
	}
	noError(w.t, resultError(w.apply(fsm.KindRaiseLevel, fsm.RaiseLevel{Level: fsm.Level})))
}

// create puts the token t_SECRET into the state.
func (w *testCluster) create(secret string, grants ...string) {
	w.t.Helper()
	list, err := access.ParseGrants(grants)
	noError(w.t, err)
	noError(w.t, resultError(w.apply(access.KindCreate, access.Create{ID: "t_" + secret, Hash: control.HashToken(secret), Grants: list})))
}

func resultError(r wire.Result) error {
	if r.Err != nil {
		return r.Err
	}
	return nil
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

// The life of a token of the state: made by who needs none yet, told once, repeated by its key, listed, and ended with its
// sessions and what is under way.
func TestTokensOfTheState(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		open := present(control.Credentials{Remote: "10.0.0.7:1"})
		_, err := n1.CreateToken(t.Context(), open, wire.NewToken{Grants: []string{"admin"}}, "")
		refused(t, err, wire.CodeConflict, "raftctl level raise")
		w.newestLevel()
		for _, c := range []struct {
			in   wire.NewToken
			key  string
			code wire.Code
			says string
		}{
			{wire.NewToken{}, "", wire.CodeInvalid, "no grants"},
			{wire.NewToken{Grants: []string{"jobs:stop@lab"}}, "", wire.CodeInvalid, "no right"},
			{wire.NewToken{Grants: []string{"read@lab"}}, "", wire.CodeConflict, "admin"},
			{wire.NewToken{Grants: []string{"admin"}, TTL: -1}, "", wire.CodeInvalid, "ttl"},
			{wire.NewToken{Grants: []string{"admin"}, TTL: 1}, "", wire.CodeInvalid, "ttl"},
			{wire.NewToken{Grants: []string{"admin"}, Name: "a\nb"}, "", wire.CodeInvalid, "name"},
			{wire.NewToken{Grants: []string{"admin"}}, "only-sixteen-char", wire.CodeInvalid, "32"},
		} {
			_, err := n1.CreateToken(t.Context(), open, c.in, c.key)
			refused(t, err, c.code, c.says)
		}
		first, err := n1.CreateToken(t.Context(), open, wire.NewToken{Name: "root", Grants: []string{"admin"}}, "")
		noError(t, err)
		_, err = n2.Authenticate(control.Credentials{})
		refused(t, err, wire.CodeUnauthorized, "")
		root := n2.bearer(t, first.Token)
		in := wire.NewToken{Name: "worker", Grants: []string{"components:write@n2", "jobs:work@*"}, TTL: wire.Duration(time.Hour)}
		made, err := n2.CreateToken(t.Context(), root, in, "key-of-sixteen-b")
		noError(t, err)
		time.Sleep(time.Minute)
		again, err := n1.CreateToken(t.Context(), n1.bearer(t, first.Token), in, "key-of-sixteen-b")
		noError(t, err)
		if made.Token == "" || again.ID != made.ID || again.Token != made.Token || !again.Expires.Equal(*made.Expires) {
			t.Errorf("made %+v, and by a repeat %+v", made, again)
		}
		other := n1.bearer(t, made.Token)
		if own, err := n1.OwnToken(t.Context(), other); err != nil || own.ID != made.ID || own.Token != "" || own.CreatedBy != first.ID {
			t.Errorf("its own token: %+v, %v", own, err)
		}
		list, _, err := n1.TokenList(t.Context(), root, control.Read{}, control.Page{Limit: 1})
		noError(t, err)
		if len(list.Tokens) != 1 || list.Next != list.Tokens[0].ID || list.Tokens[0].Token != "" {
			t.Errorf("a page of one: %+v", list)
		}

		// Its session ends in the same step, and by the token's place in the log nothing more is done.
		worker, err := n2.SignIn(t.Context(), n2.bearer(t, made.Token), wire.SignIn{Name: "w", Runtimes: []string{"sh"}, Slots: 1, Lease: wire.Duration(time.Hour)}, "")
		noError(t, err)
		_, err = n2.SignIn(t.Context(), n2.bearer(t, made.Token), wire.SignIn{Name: "w", Namespace: "n1"}, "")
		refused(t, err, wire.CodeForbidden, "components:write@n1")
		w.lag("n1") // whose view does not know yet
		_, err = n2.RevokeToken(t.Context(), n2.bearer(t, first.Token), made.ID)
		noError(t, err)
		if ended, gone := n2.State().Registry.Ended(worker.Session); !gone || ended.Reason != "token revoked" {
			t.Errorf("its session: %+v, gone %v", ended, gone)
		}
		_, err = n1.SignIn(t.Context(), other, wire.SignIn{Name: "late", Namespace: "n2"}, "")
		refused(t, err, wire.CodeUnauthorized, "")
		_, err = n1.Authenticate(control.Credentials{Token: made.Token})
		refused(t, err, wire.CodeUnauthorized, made.ID+" was revoked")
		_, _, err = n1.TokenByID(t.Context(), root, control.Read{}, made.ID)
		refused(t, err, wire.CodeNotFound, "was revoked")

		// The last one gone opens nothing.
		_, err = n1.RevokeToken(t.Context(), root, first.ID)
		noError(t, err)
		_, err = n1.Authenticate(control.Credentials{})
		refused(t, err, wire.CodeUnauthorized, "")
	}, "n1", "n2")
}
