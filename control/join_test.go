package control_test

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/folkmoot/folkmoot/access"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/raftnode/peer"
	"github.com/folkmoot/folkmoot/wire"
)

// testSigner signs where a test has its authority.
type testSigner struct {
	ca      *authority.CA // nil: its key is not here
	trusted map[[sha256.Size]byte]bool
	err     error // of Sign
}

// Authority implements tokens.Signer.
func (s *testSigner) Authority() ([sha256.Size]byte, error) {
	if s.ca == nil {
		return [sha256.Size]byte{}, wire.NotTried("no ca-key.pem")
	}
	return sha256.Sum256(s.ca.Certificate().Raw), nil
}

// Trusts implements tokens.Signer.
func (s *testSigner) Trusts(sum [sha256.Size]byte) bool { return s.trusted[sum] }

// Sign implements tokens.Signer.
func (s *testSigner) Sign(id string, request []byte) (wire.SignedCertificate, error) {
	if s.err != nil {
		return wire.SignedCertificate{}, s.err
	}
	key, hosts, err := authority.ParseRequest(request)
	if err != nil {
		return wire.SignedCertificate{}, err
	}
	cert, err := s.ca.Sign(key, authority.Leaf{Role: authority.RoleMember, ID: id, Hosts: hosts, Life: time.Hour})
	return wire.SignedCertificate{Certificate: string(cert), CA: string(authority.EncodeCertificate(s.ca.Certificate().Raw))}, err
}

// signWith starts all coordinators again, with n1 as the one that has the authority's key.
func (w *testCluster) signWith(ca *authority.CA) *testSigner {
	w.t.Helper()
	trusted := map[[sha256.Size]byte]bool{sha256.Sum256(ca.Certificate().Raw): true}
	w.signers = map[string]*testSigner{}
	synctest.Wait()
	for id, s := range w.nodes {
		w.signers[id] = &testSigner{trusted: trusted}
		if id == "n1" {
			w.signers[id].ca = ca
		}
		s.stop()
		w.start(id)
	}
	synctest.Wait()
	return w.signers["n1"]
}

func newAuthority(t *testing.T) *authority.CA {
	t.Helper()
	ca, err := authority.New("lab", 24*time.Hour)
	noError(t, err)
	return ca
}

// certificateRequest is one for a host, in PEM.
func certificateRequest(t *testing.T, host string) string {
	t.Helper()
	key, err := authority.NewKey()
	noError(t, err)
	csr, err := authority.NewRequest(key, authority.Hosts{DNS: []string{host}})
	noError(t, err)
	return string(csr)
}

// joinBy asks for a certificate as a door does.
func (s *testNode) joinBy(t *testing.T, token, csr string) (wire.SignedCertificate, error) {
	t.Helper()
	who, err := s.AuthenticateJoin(t.Context(), control.Credentials{Token: token, Remote: "10.0.0.9:1"})
	if err != nil {
		return wire.SignedCertificate{}, err
	}
	return s.SignCertificate(t.Context(), who, wire.SignCertificate{CSR: csr})
}

// A join token opens one certificate, for the id that it was made for, at a coordinator with the key and by one without.
func TestJoinToken(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		ca := newAuthority(t)
		w.signWith(ca)
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		open := present(control.Credentials{Remote: "10.0.0.7:1"})
		_, err := n1.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
		refused(t, err, wire.CodeConflict, "raftctl level raise")
		w.newestLevel()
		for _, c := range []struct {
			in   wire.NewJoinToken
			key  string
			says string
		}{
			{wire.NewJoinToken{}, "", "no id of a coordinator"},
			{wire.NewJoinToken{ID: "n4/../n1"}, "", "no id of a coordinator"},
			{wire.NewJoinToken{ID: "n4", TTL: -1}, "", "ttl"},
			{wire.NewJoinToken{ID: "n4", TTL: wire.Duration(time.Hour + 1)}, "", "ttl"},
			{wire.NewJoinToken{ID: "n4"}, "only-sixteen-char", "32"},
		} {
			_, err := n1.CreateJoinToken(t.Context(), open, c.in, c.key)
			refused(t, err, wire.CodeInvalid, c.says)
		}
		mark := sha256.Sum256(ca.Certificate().Raw)
		for _, at := range []*testNode{n1, n2} { // n2 asks n1 which authority signs, and to sign
			w.lag("n1") // the token may be faster than the log
			made, err := at.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
			noError(t, err)
			if named, err := wire.ParseJoinToken(made.Token); err != nil || named != mark || made.ID != "n4" || time.Until(made.Expires) < 9*time.Minute {
				t.Errorf("made %+v, %v", made, err)
			}
			for _, other := range []string{"n5", "n4 "} {
				who, err := at.AuthenticateJoin(t.Context(), control.Credentials{Token: made.Token})
				noError(t, err)
				_, err = at.SignCertificate(t.Context(), who, wire.SignCertificate{CSR: certificateRequest(t, "host4"), ID: other})
				refused(t, err, wire.CodeUnauthorized, "is for n4") // which uses nothing up
			}
			_, err = at.joinBy(t, made.Token, "no request")
			refused(t, err, wire.CodeInvalid, "certificate request") // which uses nothing up
			signed, err := at.joinBy(t, made.Token, certificateRequest(t, "host4"))
			noError(t, err)
			certs, err := authority.Certificates([]byte(signed.Certificate))
			noError(t, err)
			if name, err := authority.NameOf(certs[0]); err != nil || name.String() != "spiffe://lab/member/n4" || certs[0].VerifyHostname("host4") != nil {
				t.Errorf("signed for %v (%v), %v", name, err, certs[0].DNSNames)
			}
			for _, again := range []*testNode{n1, n2} {
				_, err = again.joinBy(t, made.Token, certificateRequest(t, "host4"))
				refused(t, err, wire.CodeUnauthorized, "was used")
			}
		}
		later, err := n2.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4", TTL: wire.Duration(time.Minute)}, "")
		noError(t, err)
		time.Sleep(time.Minute + time.Second)
		for _, at := range []*testNode{n1, n2} {
			_, err = at.joinBy(t, later.Token, certificateRequest(t, "host4"))
			refused(t, err, wire.CodeUnauthorized, "expired at")
		}
		for _, bad := range []string{"", "fmj_", wire.FormatJoinToken(mark, ""), wire.FormatJoinToken(mark, "guessed"), wire.FormatJoinToken([32]byte{}, strings.TrimPrefix(later.Token, wire.FormatJoinToken(mark, "")))} {
			_, err = n2.joinBy(t, bad, certificateRequest(t, "host4"))
			refused(t, err, wire.CodeUnauthorized, "")
		}
	}, "n1", "n2")
}

// A repeat by the same bearer with the same key is told the same join token; tokens of the state open no certificate, and a
// join token opens nothing else.
func TestJoinTokensAmongOthers(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.signWith(newAuthority(t))
		w.newestLevel()
		w.create("root", "admin")
		w.create("user", "write@lab1")
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		const key = "key-of-sixteen-b"
		made, err := n1.CreateJoinToken(t.Context(), n1.bearer(t, "root"), wire.NewJoinToken{ID: "n4"}, key)
		noError(t, err)
		time.Sleep(time.Second)
		again, err := n2.CreateJoinToken(t.Context(), n2.bearer(t, "root"), wire.NewJoinToken{ID: "n4"}, key)
		noError(t, err)
		if again.Token != made.Token || !again.Expires.Equal(made.Expires) {
			t.Errorf("made %+v, and by a repeat %+v", made, again)
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)) - time.Second)
		made, err = n1.CreateJoinToken(t.Context(), n1.bearer(t, "root"), wire.NewJoinToken{ID: "n4"}, "another-key-of-16")
		noError(t, err)
		time.Sleep(2 * time.Second) // over the turn of the hour
		again, err = n2.CreateJoinToken(t.Context(), n2.bearer(t, "root"), wire.NewJoinToken{ID: "n4"}, "another-key-of-16")
		noError(t, err)
		if again.Token != made.Token {
			t.Error("a repeat over the turn of the hour is another token")
		}
		if row, ok := n1.State().Access.JoinToken(control.HashToken(made.Token)); !ok || row.CreatedBy != "t_root" {
			t.Errorf("its row: %+v, %v", row, ok)
		}
		_, err = n1.CreateJoinToken(t.Context(), n1.bearer(t, "root"), wire.NewJoinToken{ID: "n5"}, "another-key-of-16")
		refused(t, err, wire.CodeConflict, "for coordinator n4")
		_, err = n1.CreateJoinToken(t.Context(), n1.bearer(t, "user"), wire.NewJoinToken{ID: "n4"}, "")
		refused(t, err, wire.CodeForbidden, "admin")
		for _, secret := range []string{"root", "user"} {
			_, err = n1.joinBy(t, secret, certificateRequest(t, "host4"))
			refused(t, err, wire.CodeForbidden, "join token")
		}
		_, err = n1.Authenticate(control.Credentials{Token: made.Token})
		refused(t, err, wire.CodeUnauthorized, "nothing else")
		who, err := n1.AuthenticateJoin(t.Context(), control.Credentials{Token: made.Token})
		noError(t, err)
		_, err = n1.Leader(t.Context(), who)
		refused(t, err, wire.CodeUnauthorized, "")

		// The token that makes one is judged again at its place in the log.
		root := n1.bearer(t, "root")
		w.create("other", "admin")
		w.lag("n1")
		_, err = n2.RevokeToken(t.Context(), n2.bearer(t, "other"), "t_root")
		noError(t, err)
		_, err = n1.CreateJoinToken(t.Context(), root, wire.NewJoinToken{ID: "n6"}, "")
		refused(t, err, wire.CodeUnauthorized, "")
	}, "n1", "n2")
}

// A join token that was used, or has expired, is no answer to a repeat by its key, and never opens anything again: while a
// repeat would make it anew its row is there.
func TestAUsedJoinTokenNeverComesBack(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.signWith(newAuthority(t))
		w.newestLevel()
		n1 := w.nodes["n1"]
		who := present(control.Credentials{Remote: "10.0.0.7:1"})
		const used, unused = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210" // nobody has a token, so they are long
		ask := func(key string) (wire.JoinToken, error) {
			return n1.CreateJoinToken(t.Context(), who, wire.NewJoinToken{ID: "n4"}, key)
		}
		first := map[string]string{}
		for _, key := range []string{used, unused} {
			made, err := ask(key)
			noError(t, err)
			first[key] = made.Token
		}
		_, err := n1.joinBy(t, first[used], certificateRequest(t, "host4"))
		noError(t, err)
		_, err = ask(used)
		refused(t, err, wire.CodeConflict, "was used, or has expired")
		for began := time.Now(); time.Since(began) < 6*time.Hour; {
			time.Sleep(20 * time.Minute)
			if over, some := n1.State().Access.Expired(time.Now(), access.MaxOver); some { // as the leader does
				w.apply(access.KindExpire, over)
			}
			for _, key := range []string{used, unused} {
				switch again, err := ask(key); {
				case err != nil:
					refused(t, err, wire.CodeConflict, "was used, or has expired")
				case again.Token == first[key]:
					t.Fatalf("the token of before is made again, %v later", time.Since(began))
				}
			}
		}
		if made, err := ask(used); err != nil || made.Token == first[used] {
			t.Errorf("hours later the key makes %+v, %v, want another token", made, err)
		}
	}, "n1")
}

// What goes wrong between the token and the certificate says whether the token is used up.
func TestJoinTokenTroubles(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		open := present(control.Credentials{Remote: "10.0.0.7:1"})
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		w.newestLevel()
		_, err := n1.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
		refused(t, err, wire.CodeConflict, "no certificates here")
		ca := newAuthority(t)
		signer := w.signWith(ca)
		made, err := n1.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
		noError(t, err)
		csr := certificateRequest(t, "host4")

		// Nobody who signs is reached: nothing is used up.
		w.setUnreachable("n1", true)
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeUnavailable, "nothing was used up")
		_, err = n2.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
		refused(t, err, wire.CodeUnavailable, "no coordinator that is reached can sign")
		w.setUnreachable("n1", false)
		signer.ca = nil
		_, err = n1.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeUnavailable, "n2: no ca-key.pem")
		signer.ca = ca

		// The log takes nothing, or may have taken it.
		w.failProposals(wire.NotTried("no leader"))
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeUnavailable, "no leader")
		w.failProposals(wire.Unknown(errors.New("the leader is gone")))
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeUnknown, "try it once more")
		w.failProposals(nil)

		// It may have taken it, and what the next try is told does not take that back.
		for _, next := range []error{wire.NotTried("no leader"), wire.Refuse(wire.CodeBusy, "too many"), wire.Refuse(wire.CodeUnauthorized, "was used")} {
			w.failNextProposals(wire.Unknown(errors.New("the leader is gone")), next)
			_, err = n2.joinBy(t, made.Token, csr)
			refused(t, err, wire.CodeUnknown, "try it once more")
		}

		// The authority was changed: not signed, not used up.
		signer.trusted[sha256.Sum256(ca.Certificate().Raw)] = false
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeConflict, "authority was changed")
		signer.trusted[sha256.Sum256(ca.Certificate().Raw)] = true

		// The answer is lost on its way, once the token is used up.
		sign := n1.calls["tokens.sign"]
		n1.calls["tokens.sign"] = func(ctx context.Context, from peer.Hello, body []byte) ([]byte, error) {
			_, _ = sign(ctx, from, body)
			return nil, wire.Unknown(errors.New("the connection broke"))
		}
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeUnknown, "try it once more")
		n1.calls["tokens.sign"] = sign
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeUnauthorized, "was used")

		// It is used up before it is signed.
		made, err = n1.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
		noError(t, err)
		signer.err = errors.New("the key cannot be read")
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeInternal, "is used up")
		signer.err = nil
		_, err = n2.joinBy(t, made.Token, csr)
		refused(t, err, wire.CodeUnauthorized, "was used")

		// Two at once: one gets it.
		made, err = n1.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
		noError(t, err)
		ends := make(chan error, 8)
		for range cap(ends) {
			go func() {
				who, err := n2.AuthenticateJoin(t.Context(), control.Credentials{Token: made.Token})
				if err == nil {
					_, err = n2.SignCertificate(t.Context(), who, wire.SignCertificate{CSR: csr})
				}
				ends <- err
			}()
		}
		done := 0
		for range cap(ends) {
			switch err := <-ends; wire.CodeOf(err) {
			case "":
				done++
			case wire.CodeUnauthorized:
			default:
				t.Errorf("one of many: %v", err)
			}
		}
		if done != 1 {
			t.Errorf("%d certificates were signed by one token, want 1", done)
		}

		// There is an end to how many are kept.
		for i := n1.State().Access.LenJoinTokens(); i < access.MaxJoinTokens; i++ {
			w.apply(access.KindCreateJoinToken, access.CreateJoinToken{Hash: control.HashToken(string(rune(i))), ID: "n5", Expires: time.Now().Add(time.Hour)})
		}
		_, err = n1.CreateJoinToken(t.Context(), open, wire.NewJoinToken{ID: "n4"}, "")
		refused(t, err, wire.CodeBusy, "join tokens")
		_, err = n1.CreateToken(t.Context(), open, wire.NewToken{Grants: []string{"admin"}}, "")
		noError(t, err)
	}, "n1", "n2")
}

// Only what makes a sound request is signed.
func TestJoinRequestsAreChecked(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.signWith(newAuthority(t))
		w.newestLevel()
		n1 := w.nodes["n1"]
		made, err := n1.CreateJoinToken(t.Context(), present(control.Credentials{}), wire.NewJoinToken{ID: "n4"}, "")
		noError(t, err)
		good := certificateRequest(t, "host4")
		block, _ := pem.Decode([]byte(good))
		block.Bytes[len(block.Bytes)-1] ^= 1
		for situation, csr := range map[string]string{
			"nothing":          "",
			"half of one":      good[:len(good)/2],
			"two":              good + good,
			"a long one":       strings.Repeat("x\n", authority.MaxRequest) + good,
			"a false proof":    string(pem.EncodeToMemory(block)),
			"a host that is a": certificateRequest(t, "a/b"),
		} {
			_, err := n1.joinBy(t, made.Token, csr)
			if wire.CodeOf(err) != wire.CodeInvalid {
				t.Errorf("%s: got %v, want invalid", situation, err)
			}
		}
		if _, err = n1.calls["tokens.sign"](t.Context(), peer.Hello{}, []byte(`{"token":"`+made.Token+`","csr":"x"}`)); wire.CodeOf(err) != wire.CodeInvalid {
			t.Errorf("passed on unread: got %v, want invalid", err)
		}
		_, err = n1.joinBy(t, made.Token, good)
		noError(t, err)
	}, "n1")
}
