package rest

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/folkmoot/folkmoot/wire"
)

// CheckOrigin keeps foreign web pages out (CSRF and DNS rebinding; etcd had
// both, CVE-2018-1098 and -1099). A page that a browser loaded from elsewhere
// sends its Origin, or a Sec-Fetch-Site that says so; a page whose name was
// bound anew to our address sends its own name as Host. Programs send neither
// header. hosts nil: any Host passes. Errors: forbidden.
func CheckOrigin(r *http.Request, hosts []string) error {
	if hosts != nil && !hostAllowed(r.Host, hosts) {
		return wire.Refuse(wire.CodeForbidden, "host %q is not a name of this coordinator; where it listens on loopback and asks for no token, --http-hosts lists its names", Clip(r.Host))
	}
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 && site[0] != "same-origin" && site[0] != "none" {
		return wire.Refuse(wire.CodeForbidden, "a page of another site may not call this coordinator")
	}
	origin := r.Header["Origin"]
	if len(origin) == 0 {
		return nil
	}
	u, err := url.Parse(origin[0])
	if len(origin) > 1 || err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return wire.Refuse(wire.CodeForbidden, "origin %q is not this coordinator", Clip(origin[0]))
	}
	return nil
}

// privateDomains are those that nobody can register, so no foreign page has a
// name in one.
var privateDomains = []string{".localhost", ".local", ".internal", ".svc"}

// hostAllowed lets through what a foreign page cannot be called: addresses,
// names without a dot, private names, and those in hosts ("*" is any).
func hostAllowed(host string, hosts []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	if !strings.Contains(name, ".") && !strings.Contains(name, ":") {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	if slices.ContainsFunc(privateDomains, func(domain string) bool { return strings.HasSuffix(name, domain) }) {
		return true
	}
	return slices.ContainsFunc(hosts, func(h string) bool { return h == "*" || strings.EqualFold(h, name) })
}
