package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/folkmoot/folkmoot/"

// may lists which of our own packages each package may import, and why. A
// package that is not in the table fails the test: put it in with a reason.
var may = map[string]struct {
	imports []string
	why     string
}{
	"wire":               {nil, "words alone; everybody may know them, they know nobody"},
	"wire/strictjson":    {[]string{"wire"}, "decodes strangers' JSON; its refusals are wire's errors"},
	"wire/jsonrpc":       {[]string{"wire", "wire/strictjson"}, "one JSON-RPC for all doors and the SDK"},
	"wire/textframe":     {[]string{"wire", "wire/strictjson"}, "a message as JSON"},
	"wire/trywrite":      {nil, "one system call on a socket"},
	"wire/awake":         {nil, "a clock of this process alone"},
	"wire/durable":       {nil, "files and their names, on the disk"},
	"wire/histogram":     {nil, "counters of durations, without a library"},
	"wire/indexwait":     {nil, "a heap of waiters"},
	"wire/flow":          {nil, "one more system call: what of a socket's bytes was taken"},
	"wire/unfinished":    {nil, "arithmetic of bytes: which message of too many goes"},
	"wire/pending":       {nil, "arithmetic of connections: who of too many goes"},
	"wire/hangup":        {nil, "two more: how a connection ends"},
	"access":             {[]string{"wire"}, "pure: rights, grants, tokens"},
	"registry":           {[]string{"wire"}, "pure domain"},
	"jobs":               {[]string{"wire", "wire/strictjson"}, "pure domain"},
	"audit":              {[]string{"wire"}, "pure: the form of a trail, and the table of its anchors"},
	"audit/trail":        {[]string{"audit", "wire/durable"}, "hands: the files of a trail"},
	"fsm/snapfile":       {nil, "pure: the lines of a file that a state is kept in; what is in a row it does not know"},
	"fsm":                {[]string{"wire", "wire/indexwait", "access", "registry", "jobs", "audit", "fsm/snapfile"}, "ties the domains to the log"},
	"backup":             {[]string{"fsm/snapfile", "wire/durable"}, "hands: files that a state is kept in, whole or not there"},
	"fsm/propose":        {[]string{"wire", "fsm"}, "hands: the way of all writes into the log"},
	"registry/lease":     {[]string{"wire", "wire/awake", "registry", "fsm", "fsm/propose"}, "hands: reads views, proposes expiry"},
	"jobs/dispatch":      {[]string{"wire", "access", "registry", "jobs", "fsm", "fsm/propose"}, "hands: reads views, proposes assignments"},
	"jobs/work":          {[]string{"wire", "wire/strictjson"}, "the worker's side runs far from any coordinator"},
	"certfile":           {[]string{"certfile/authority", "wire/durable"}, "files of certificates: it knows no node and no network"},
	"certfile/authority": {nil, "signs certificates and reads names in them"},
	"raftnode/peer":      {[]string{"wire", "wire/awake", "wire/flow", "wire/pending", "certfile", "certfile/authority"}, "a port carries bytes"},
	"raftnode/disk":      {[]string{"wire", "wire/awake", "wire/durable", "wire/histogram"}, "files of one data directory: it knows neither the group nor the network"},
	"raftnode/outcome":   {[]string{"wire"}, "what raft's answers mean: for the node's writes and for changes of the membership"},
	"raftnode/member":    {[]string{"wire", "wire/awake", "raftnode/disk", "raftnode/outcome", "raftnode/peer"}, "who belongs to the group: it knows neither the log's content nor its reads and writes"},
	"raftnode":           {[]string{"wire", "wire/histogram", "wire/indexwait", "raftnode/disk", "raftnode/member", "raftnode/outcome", "raftnode/peer"}, "replicates bytes, never reads them"},
	"router/lockorder":   {nil, "the order of the router's locks; checked in a build with -tags lockcheck"},
	"router/route":       {[]string{"router/lockorder"}, "which coordinators have links, and the routes over them: ids in, routes out"},
	"router/link":        {[]string{"wire", "wire/awake", "wire/flow", "wire/trywrite", "router/lockorder"}, "bytes between two coordinators: it knows neither names nor routes"},
	"router":             {[]string{"wire", "wire/jsonrpc", "router/link", "router/lockorder", "router/route"}, "reads names and headers; the directory is an interface"},
	"control":            {[]string{"wire", "access", "registry", "jobs", "fsm", "fsm/propose", "raftnode", "raftnode/peer", "router", "audit"}, "the core of the use cases: who, may they, is there room, from which state, with what outcome"},
	"control/home":       {[]string{"wire", "wire/jsonrpc", "registry", "registry/lease", "jobs", "fsm", "fsm/propose", "raftnode", "raftnode/peer", "router", "control"}, "what hangs on the sessions at home here: mail, leases, deliveries, logs"},
	"control/directory":  {[]string{"wire", "registry", "raftnode", "fsm", "fsm/propose", "control", "control/home"}, "use cases import the core and home, not each other"},
	"control/work":       {[]string{"wire", "wire/strictjson", "registry", "jobs", "fsm", "fsm/propose", "control", "control/home"}, "use cases import the core and home, not each other"},
	"control/cluster":    {[]string{"wire", "registry", "jobs", "fsm", "fsm/propose", "raftnode", "control", "control/home"}, "use cases import the core and home, not each other"},
	"control/tokens":     {[]string{"wire", "access", "registry", "fsm", "fsm/propose", "raftnode/peer", "certfile/authority", "control"}, "use cases import the core: tokens hang on no session's home; certificate requests are read before a join token is used up"},
	"control/snapshots":  {[]string{"wire", "fsm", "fsm/propose", "raftnode", "control"}, "use cases import the core: a state as a file hangs on no session's home"},
	"control/methods":    {[]string{"wire", "wire/jsonrpc", "registry", "fsm/propose", "router", "control", "control/home", "control/directory", "control/work", "audit"}, "COORDINATOR: the use cases by JSON-RPC, one table for all doors"},
	"control/usecases":   {[]string{"wire", "registry", "fsm", "fsm/propose", "control", "control/home", "control/directory", "control/work", "control/cluster", "control/methods", "control/snapshots", "control/tokens"}, "puts the use cases together, for the node and for tests of doors"},
	"gateway/session":    {[]string{"wire", "wire/jsonrpc", "wire/strictjson", "wire/hangup", "wire/pending", "wire/unfinished", "control", "control/home", "control/methods", "router", "audit"}, "the common part of the doors for native sessions; it takes mail from the router's consumer"},
	"gateway/tcp":        {[]string{"wire", "wire/awake", "wire/flow", "wire/hangup", "wire/pending", "wire/trywrite", "wire/unfinished", "control", "gateway/session"}, "a door translates"},
	"gateway/ws":         {[]string{"wire", "wire/textframe", "wire/awake", "wire/flow", "wire/hangup", "wire/trywrite", "wire/unfinished", "control", "gateway/session"}, "a door translates"},
	"httpapi":            {[]string{"wire", "wire/jsonrpc", "wire/strictjson", "control", "control/directory", "control/home", "control/snapshots", "control/work", "httpapi/rest"}, "a door translates"},
	"httpapi/rest":       {[]string{"wire", "wire/strictjson", "wire/flow", "wire/hangup", "control", "audit"}, "the toolkit of the HTTP door: it knows who asks and how fresh an answer is, and no resource"},
	"httpapi/ops":        {[]string{"wire", "httpapi/rest"}, "the operator's port asks its node by functions"},
	"gateway/zmtp":       {[]string{"wire/flow", "wire/pending", "wire/unfinished", "wire/trywrite"}, "a wire protocol carries frames"},
	"gateway/leco":       {[]string{"wire", "wire/jsonrpc", "wire/strictjson", "wire/flow", "wire/pending", "registry", "fsm", "control", "control/home", "control/methods", "router", "gateway/zmtp", "audit"}, "a door translates; reads views for its lists"},
	"wire/flow/slowlink": {nil, "for tests: a slow link"},
	"gateway/pyenv":      {nil, "for tests: a Python with foreign clients"},
	"client":             {[]string{"wire", "wire/jsonrpc", "wire/awake", "wire/flow", "wire/hangup", "wire/trywrite"}, "an SDK has no server inside"},
	"client/sessiontest": {[]string{"wire", "wire/jsonrpc"}, "for tests: the coordinator's end of a session"},
	"client/worker":      {[]string{"wire", "client", "jobs/work"}, "a worker is a client that runs parts"},
	"node":               {[]string{"wire", "wire/histogram", "access", "backup", "wire/unfinished", "wire/awake", "certfile", "certfile/authority", "registry", "registry/lease", "jobs/dispatch", "jobs/work", "fsm", "fsm/propose", "raftnode", "raftnode/disk", "raftnode/peer", "router", "router/route", "control", "control/home", "control/usecases", "httpapi", "httpapi/rest", "httpapi/ops", "gateway/zmtp", "gateway/leco", "gateway/session", "gateway/tcp", "gateway/ws", "client", "client/worker", "audit", "audit/trail"}, "puts one coordinator together"},
	"integration/storm":  {nil, "for tests: which run only in a step of their own"},
	"docs/figures":       {nil, "writes figures of the sources into the pages"},
	"docs/restpage":      {nil, "writes the page of all REST requests from the contract"},
	"cmd/version":        {nil, "one for all programs"},
	"cmd/sdnotify":       {nil, "one datagram to systemd"},
	"cmd/clipage":        {nil, "for tests: the page of all commands"},
	"cmd/settings":       {[]string{"client"}, "one for all programs; it hides the flags', variables' and files' rules"},
	"cmd/coordinator":    {[]string{"cmd/version", "cmd/sdnotify", "cmd/settings", "wire", "node", "client", "client/worker", "jobs/work"}, "a main"},
	"cmd/raftctl":        {[]string{"backup", "fsm", "fsm/snapfile", "certfile", "certfile/authority", "cmd/settings", "cmd/version", "wire", "wire/strictjson", "wire/durable", "client", "audit", "audit/trail", "raftnode", "raftnode/disk"}, "a main; raftnode and raftnode/disk for what is done to the files of a stopped coordinator"},
	"cmd/worker":         {[]string{"cmd/settings", "cmd/version", "wire", "client", "client/worker", "jobs/work"}, "a main"},
	"integration":        {[]string{"wire", "client"}, "drives real processes from outside"},
}

// only lists the packages that alone may import a library.
var only = map[string][]string{
	"github.com/hashicorp/raft":                {"raftnode", "raftnode/disk", "raftnode/member", "raftnode/outcome"},
	"github.com/hashicorp/raft-boltdb/v2":      {"raftnode/disk"},
	"github.com/hashicorp/raft-wal":            {"raftnode/disk"},
	"go.etcd.io/bbolt":                         {"raftnode/disk"},
	"github.com/labstack/echo/v4":              {"httpapi/rest"},
	"github.com/tidwall/btree":                 {"access", "registry", "jobs"},
	"github.com/prometheus/client_golang":      {"node", "httpapi/rest", "httpapi/ops"},
	"github.com/spf13/cobra":                   {"cmd/clipage", "cmd/coordinator", "cmd/raftctl", "cmd/worker"},
	"github.com/jedib0t/go-pretty/v6":          {"cmd/coordinator", "cmd/raftctl"},
	"github.com/getkin/kin-openapi":            {},
	"github.com/anishathalye/porcupine":        {},
	"github.com/hashicorp/go-metrics":          {},
	"github.com/armon/go-metrics":              {"node"},
	"github.com/hashicorp/go-hclog":            {"raftnode", "raftnode/disk"},
	"github.com/cenkalti/backoff/v5":           {"client", "client/worker", "jobs/work", "router/link"},
	"github.com/hashicorp/raft-autopilot":      {},
	"github.com/prometheus/client_golang/docs": {},
}

// pure packages have no clock, no chance, no I/O, no goroutine and no range
// over a map: the same log must give the same state on every machine.
var pure = []string{"access", "registry", "jobs", "fsm", "fsm/snapfile", "audit"}

var (
	impureImports = []string{"os", "os/exec", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "runtime", "syscall", "unsafe", "time/tzdata"}
	// impureCalls lists functions a pure package must not call, by import path.
	impureCalls = map[string][]string{
		"time": {"Now", "Since", "Until", "After", "Sleep", "NewTimer", "NewTicker", "AfterFunc", "Tick"},
		"maps": {"Keys", "Values", "All"},
	}
	// excused imports, each with its reason.
	excused = map[string][]string{
		"fsm": {"context"}, // Wait blocks a reader, never Apply
	}
)

type pkg struct {
	Dir, ImportPath  string
	Imports, GoFiles []string

	TestImports, XTestImports []string
	TestGoFiles, XTestGoFiles []string
}

func packages(t *testing.T) (ps []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,Imports,GoFiles,TestImports,XTestImports,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

// wrongImports lists what p imports against the tables.
func wrongImports(p pkg) (wrong []string) {
	name := strings.TrimPrefix(p.ImportPath, module)
	row, known := may[name]
	if !known {
		return []string{name + " is not in the import table: add it with a reason"}
	}
	for _, i := range p.Imports {
		if own, ours := strings.CutPrefix(i, module); ours {
			if !slices.Contains(row.imports, own) {
				wrong = append(wrong, fmt.Sprintf("%s must not import %s (%s)", name, own, row.why))
			}
			continue
		}
		for lib, users := range only {
			if (i == lib || strings.HasPrefix(i, lib+"/")) && !slices.Contains(users, name) {
				wrong = append(wrong, fmt.Sprintf("%s must not import %s: only %v may", name, i, users))
			}
		}
		if slices.Contains(pure, name) && slices.Contains(append(impureImports, "context"), i) && !slices.Contains(excused[name], i) {
			wrong = append(wrong, fmt.Sprintf("%s is pure and must not import %s", name, i))
		}
	}
	return wrong
}

// impurities lists clocks, chance, goroutines and map ranges in checked files.
func impurities(fset *token.FileSet, files []*ast.File, info *types.Info) (found []string) {
	say := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("%s: %s in a pure package", fset.Position(n.Pos()), what))
	}
	for _, f := range files {
		sorted := map[ast.Node]bool{} // maps.Keys directly inside slices.Sorted has an order
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if path, fn := callee(info, n.Fun); path == "slices" && fn == "Sorted" && len(n.Args) == 1 {
					if inner, ok := n.Args[0].(*ast.CallExpr); ok {
						sorted[inner.Fun] = true
					}
				}
			case *ast.SelectorExpr:
				path, fn := callee(info, n)
				if slices.Contains(impureCalls[path], fn) && !sorted[n] {
					say(n, path+"."+fn)
				}
			case *ast.GoStmt:
				say(n, "goroutine")
			case *ast.RangeStmt:
				if tv, ok := info.Types[n.X]; ok && tv.Type != nil {
					if _, isMap := tv.Type.Underlying().(*types.Map); isMap {
						say(n, "range over a map")
					}
				}
			}
			return true
		})
	}
	return found
}

// callee returns the package path and the function that a selector names.
func callee(info *types.Info, e ast.Expr) (path, name string) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	if pn, ok := info.Uses[x].(*types.PkgName); ok {
		return pn.Imported().Path(), sel.Sel.Name
	}
	return "", ""
}

func check(t *testing.T, path string, fset *token.FileSet, files []*ast.File) *types.Info {
	t.Helper()
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", compiled(t))}
	if _, err := conf.Check(path, fset, files, info); err != nil {
		t.Fatalf("type-check %s: %v", path, err)
	}
	return info
}

// exports are the compiled packages that checked code may import, by path.
var exports = sync.OnceValues(func() (map[string]string, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./access", "./registry", "./jobs", "./fsm", "./fsm/snapfile", "./audit", "maps", "slices", "time")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found[path] = file
		}
	}
	return found, nil
})

// compiled opens the compiler's export data of an imported package.
func compiled(t *testing.T) func(path string) (io.ReadCloser, error) {
	t.Helper()
	found, err := exports()
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(found[path]) }
}

// unusedPermissions lists what the tables allow and nobody does: whoever reads
// them must be able to believe them.
func unusedPermissions(ps []pkg) (unused []string) {
	imports := map[string][]string{} // by package: our own by their short names, libraries by their paths
	for _, p := range ps {
		name := strings.TrimPrefix(p.ImportPath, module)
		used := p.Imports
		if len(p.GoFiles) == 0 { // it is all tests
			used = p.XTestImports
		}
		imports[name] = []string{}
		for _, i := range used {
			imports[name] = append(imports[name], strings.TrimPrefix(i, module))
		}
	}
	for name, row := range may {
		used, exists := imports[name]
		if !exists {
			unused = append(unused, name+" is in the import table and does not exist")
			continue
		}
		for _, i := range row.imports {
			if !slices.Contains(used, i) {
				unused = append(unused, fmt.Sprintf("%s may import %s and does not: take it out of the import table", name, i))
			}
		}
	}
	for lib, users := range only {
		for _, name := range users {
			if !slices.ContainsFunc(imports[name], func(i string) bool { return i == lib || strings.HasPrefix(i, lib+"/") }) {
				unused = append(unused, fmt.Sprintf("%s may import %s and does not: take it out of the table of libraries", name, lib))
			}
		}
	}
	slices.Sort(unused)
	return unused
}

// Calls go down, events come up, and libraries stay behind one package each.
func TestImportsFollowTheTable(t *testing.T) {
	all := packages(t)
	for _, p := range all {
		for _, w := range wrongImports(p) {
			t.Error(w)
		}
	}
	for _, u := range unusedPermissions(all) {
		t.Error(u)
	}
}

// Whoever has storms is named where they are run.
func TestStormsAreRun(t *testing.T) {
	script, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages(t) {
		if name := strings.TrimPrefix(p.ImportPath, module); slices.Contains(slices.Concat(p.TestImports, p.XTestImports), module+"integration/storm") &&
			!regexp.MustCompile(`(?m)-run '\^TestStorm'.* \./`+name+`( |$)`).Match(script) {
			t.Errorf("%s has storms, and .ci/run does not run them", name)
		}
	}
}

// The domains and the state machine are functions of the log alone.
func TestDomainsArePure(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, strings.TrimPrefix(p.ImportPath, module)) {
			continue
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		for _, f := range impurities(fset, files, check(t, p.ImportPath, fset, files)) {
			t.Error(f)
		}
	}
}

// The two checks find what they are for: each line below is a planted fault.
func TestArchTestFindsPlantedFaults(t *testing.T) {
	for _, c := range []struct{ name, imports, want string }{
		{"registry", module + "raftnode", "registry must not import raftnode"},
		{"registry", "os", "registry is pure and must not import os"},
		{"jobs", "math/rand/v2", "jobs is pure and must not import math/rand/v2"},
		{"jobs", "context", "jobs is pure and must not import context"},
		{"httpapi", "github.com/hashicorp/raft", "httpapi must not import github.com/hashicorp/raft"},
		{"control", "github.com/labstack/echo/v4/middleware", "control must not import github.com/labstack/echo/v4/middleware"},
		{"client", module + "fsm", "client must not import fsm"},
		{"helpers", "fmt", "helpers is not in the import table"},
	} {
		got := wrongImports(pkg{ImportPath: module + c.name, Imports: []string{c.imports}})
		if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s importing %s: got %q, want one fault starting %q", c.name, c.imports, got, c.want)
		}
	}
	got := unusedPermissions([]pkg{{ImportPath: module + "registry", GoFiles: []string{"x.go"}, Imports: []string{"fmt"}}})
	for _, want := range []string{
		"registry may import wire and does not: take it out of the import table",
		"registry may import github.com/tidwall/btree and does not: take it out of the table of libraries",
		"jobs is in the import table and does not exist",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("permissions that nobody uses: %q is not among %q", want, got)
		}
	}
	for body, want := range map[string]string{
		`func f() time.Time { return time.Now() }`:                                            "time.Now",
		`func f() { time.Sleep(time.Second) }`:                                                "time.Sleep",
		`var clock = time.Now`:                                                                "time.Now",
		`func f(m map[int]int) (n int) { for k := range m { n = k }; return }`:                "range over a map",
		`type set map[int]bool; func f(m set) (n int) { for k := range m { n = k }; return }`: "range over a map",
		`func f(m map[int]int) []int { return slices.Collect(maps.Keys(m)) }`:                 "maps.Keys",
		`func f() { go func() {}() }`:                                                         "goroutine",
	} {
		if got := impuritiesOf(t, body); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: got %q, want one fault of %q", body, got, want)
		}
	}
	for _, body := range []string{
		`func f(m map[int]int) []int { return slices.Sorted(maps.Keys(m)) }`,
		`func f(s []int) (n int) { for _, x := range s { n += x }; return }`,
		`func f(t time.Time) time.Time { return t.Add(time.Second) }`,
	} {
		if got := impuritiesOf(t, body); len(got) != 0 {
			t.Errorf("%s: got %q, want no fault", body, got)
		}
	}
}

func impuritiesOf(t *testing.T, body string) []string {
	t.Helper()
	src := "package planted\n"
	for _, p := range []string{"maps", "slices", "time"} {
		if strings.Contains(body, p+".") {
			src += fmt.Sprintf("import %q\n", p)
		}
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "planted.go", src+body, 0)
	if err != nil {
		t.Fatal(err)
	}
	return impurities(fset, []*ast.File{f}, check(t, "planted", fset, []*ast.File{f}))
}
