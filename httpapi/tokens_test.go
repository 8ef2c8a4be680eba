package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/wire"
)

func TestTokenRoutes(t *testing.T) {
	t.Parallel()
	d := serve(t)
	var made wire.Token
	a := d.do("POST", "/v1/tokens", `{"name":"bench","grants":["write@lab1"],"ttl":"720h"}`, "Idempotency-Key", "0123456789abcdef").wantStatus(201).decode(&made)
	if made.Token != "fmt_secret" || made.Name != "bench" || a.header.Get("X-Index") != "9" || d.fake.lastKey != "0123456789abcdef" {
		t.Errorf("got %s at %s, key %q", a.body, a.header.Get("X-Index"), d.fake.lastKey)
	}
	var list wire.Tokens
	if d.do("GET", "/v1/tokens", "").wantStatus(200).decode(&list); len(list.Tokens) != 1 || list.Tokens[0].ID != "t_1" {
		t.Errorf("list: %+v", list)
	}
	if d.do("GET", `/v1/tokens?filter=name==none`, "").wantStatus(200).decode(&list); len(list.Tokens) != 0 {
		t.Errorf("filtered list: %+v", list)
	}
	for _, path := range []string{"/v1/tokens/t_1", "/v1/tokens/self"} { // self is no id
		if a := d.do("GET", path, "").wantStatus(200); !strings.Contains(a.body, `"id":"t_1"`) || strings.Contains(a.body, "fmt_") {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	d.do("DELETE", "/v1/tokens/t_1", "").wantStatus(200)
	d.do("DELETE", "/v1/tokens/t_2", "").wantProblem(404, wire.CodeNotFound, "")
	for body, field := range map[string]string{
		`{"grants":["admin"],"ttl":0}`: "ttl", `{"grants":"admin"}`: "grants", `{"grants":[],"rights":[]}`: "rights", `{"grants":[],"grants":[]}`: "grants",
	} {
		d.do("POST", "/v1/tokens", body).wantProblem(400, wire.CodeInvalid, field)
	}
	d.fake.refusal = wire.Refuse(wire.CodeConflict, "the cluster is at level 1: raftctl level raise")
	d.do("POST", "/v1/tokens", `{"grants":["admin"]}`).wantProblem(409, wire.CodeConflict, "")
}

func TestJoinRoutes(t *testing.T) {
	t.Parallel()
	d := serve(t)
	var made wire.JoinToken
	a := d.do("POST", "/v1/tokens/join", `{"id":"n4","ttl":"5m"}`, "Idempotency-Key", "0123456789abcdef").wantStatus(201).decode(&made)
	if made.Token != "fmj_secret" || made.ID != "n4" || !made.Expires.Equal(t0.Add(5*time.Minute)) || a.header.Get("X-Index") != "9" || d.fake.lastKey != "0123456789abcdef" {
		t.Errorf("got %s at %s, key %q", a.body, a.header.Get("X-Index"), d.fake.lastKey)
	}
	for body, field := range map[string]string{`{"id":"n4","ttl":0}`: "ttl", `{"id":4}`: "id", `{"id":"n4","grants":["admin"]}`: "grants"} {
		d.do("POST", "/v1/tokens/join", body).wantProblem(400, wire.CodeInvalid, field)
	}
	var signed wire.SignedCertificate
	d.do("POST", "/v1/ca/sign", `{"csr":"x"}`, "Authorization", "Bearer fmj_good").wantStatus(200).decode(&signed)
	if signed.Certificate != "signed x" || signed.CA != "trusted" {
		t.Errorf("signed: %+v", signed)
	}
	for _, headers := range [][]string{nil, {"Authorization", "Bearer fmj_other"}, {"Authorization", "Basic fmj_good"}} { // before the body is looked at
		d.do("POST", "/v1/ca/sign", `{"csr":`, headers...).wantProblem(401, wire.CodeUnauthorized, "")
	}
	d.do("POST", "/v1/ca/sign", `{"csr":"x","uri":"n1"}`, "Authorization", "Bearer fmj_good").wantProblem(400, wire.CodeInvalid, "uri")
	d.do("POST", "/v1/ca/sign", `{"csr":"`+strings.Repeat("x", 32<<10)+`"}`, "Authorization", "Bearer fmj_good").wantProblem(413, wire.CodeTooLarge, "")
	d.fake.refusal = wire.Refuse(wire.CodeConflict, "the cluster's authority was changed")
	d.do("POST", "/v1/ca/sign", `{"csr":"x"}`, "Authorization", "Bearer fmj_good").wantProblem(409, wire.CodeConflict, "")
}
