package integration_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The figures in the pages are those of the code: each phrase, with the values
// of the constants and defaults named beside it, is in its page.
func TestFiguresOfThePages(t *testing.T) {
	code := figures{}
	for _, page := range []struct {
		name    string
		limits  string // the section that has no figure but those here
		phrases []phrase
	}{
		{"docs/messages.md", "## Limits", []phrase{
			{"A name has 1 to %n bytes", of("wire.MaxName")},
			{"above %s (%s over REST)", of("wire.MaxMessage", "httpapi.MaxMessageBody")},
			{"(%n keys for each session,", of("control.keptSends")},
			{"For ten minutes after the first outcome", of("control.keptFor=10m")},
			{"after %t by native components (three pings)", of("wire.DefaultPing*wire.DeadAfter")},
			{"and at least for %t from then", of("node.Grace")},
			{"`?timeout=`, %t, at most %t", of("httpapi.defaultCall", "httpapi.longestCall")},
			{"the context, else %t", of("client.DefaultTimeout")},
			{"it waits up to %t (`?wait=`)", of("httpapi.defaultPoll")},
			{"gives at most %n messages (`?limit=`)", of("control.MaxReceive")},
			{"takes nothing for %t is closed", of("gateway/session.Write")},
			{"nobody reads holds %n messages or %s", of("sdk/python/folkmoot/session.py:MAX_INBOX", "sdk/python/folkmoot/session.py:MAX_INBOX_BYTES")},
			{"A LECO connection takes %s more", of("gateway/zmtp.MaxQueue")},

			{"| %s; over REST a body of %s, over WebSocket as text %s |", of("wire.MaxMessage", "httpapi.MaxMessageBody", "gateway/ws.maxText")},
			{"| %n; by LECO %n with the four of the header |", of("wire.MaxFrames", "gateway/zmtp.MaxFrames")},
			{"| %s, a longer one is cut", of("wire.MaxWhole")},
			{"| %n messages (%n while a connection takes from it) or %s,", of("router.MailboxMessages", "router.ConnectedMessages", "router.MailboxBytes")},
			{"| %n or %s | it is not read from", of("gateway/session.Window", "gateway/session.WindowBytes")},
			{"| %n messages or %s; those above %s are counted apart, to %s |", of("router.LinkMessages", "router.LinkBytes", "router.maxBody", "router.LinkBytes")},
			{"| %t; over REST `timeout`, at most %t |", of("control.sendTimeout", "control.longestSend")},
			{"on behalf of REST calls | %n |", of("control.maxCalls")},
			{"| REST %t to %t, default %t; native %t to %t, default %t |", of("control.ShortestLease", "control.LongestLease", "control.DefaultLease",
				"wire.ShortestNativeLease", "control.LongestLease", "wire.DefaultLease")},
		}},
		{"docs/protocol.md", "## 7. Limits", []phrase{
			{"the default (%n), at most %n;", of("wire.DefaultPing/s", "wire.LongestPing/s")},
			{"| length of all that follows: 27 to %n |", of("wire.MaxFrame")},
			{"length of the receiver's name (0 to %n)", of("wire.MaxFullName")},
			{"number of payload frames (0 to %n)", of("wire.MaxFrames")},
			{"together have at most %s.", of("wire.MaxMessage")},
			{"A frame longer than %s (length", of("wire.MaxWhole")},
			{"the piece, at most %s by custom", of("wire.MaxPiece")},
			{"at most %n transfers may be under way", of("wire.MaxTransfers")},
			{"for %t nothing was taken of what is to be written", of("gateway/session.Write")},
			{"no sign-in within %t", of("gateway/session.SignIn")},
			{"in exactly one of these, within %t:", of("router.Timeout")},
			{"(%n messages, %n while a connection takes from it; %s)", of("router.MailboxMessages", "router.ConnectedMessages", "router.MailboxBytes")},
			{"At most %n messages and %s of one connection wait", of("gateway/session.Window", "gateway/session.WindowBytes")},
			{"(or a batch of at most %n), at most %s;", of("control.maxBatch", "gateway/session.AskBytes")},
			{"in order; at most %n wait.", of("gateway/session.Asks")},
			{"`lease` is %t to %t, default %t.", of("wire.ShortestNativeLease", "control.LongestLease", "wire.DefaultLease")},
			{"is a sign_in, at most %s, within %t.", of("wire.MaxFirst", "wire.SignInTime")},
			{"by full name, at most `limit` (%n)", of("control.DefaultPage")},
			{"as it is after that time (at most %ns;", of("control.longestJobWait/s")},
			{"one message has at most %s. The coordinator sends WebSocket pings every %t;", of("gateway/ws.maxText", "wire.DefaultPing")},

			{"| %n at once, %t each, %s a frame |", of("gateway/session.Silent", "gateway/session.SignIn", "wire.MaxFirst")},
			{"| connections | %n |", of("gateway/session.Connections")},
			{"| %n bytes of 0x20 to 0x7E without a dot; %n |", of("wire.MaxName", "wire.MaxFullName")},
			{"| %s, %n payload frames |", of("wire.MaxMessage", "wire.MaxFrames")},
			{"| transfers in chunks at once | %n each way |", of("wire.MaxTransfers")},
			{"| a request to COORDINATOR | %s; %n waiting |", of("gateway/session.AskBytes", "gateway/session.Asks")},
			{"on one connection | %n, %s |", of("gateway/session.Window", "gateway/session.WindowBytes")},
			{"| a mailbox | %n messages, %n while a connection takes from it; %s and one message |", of("router.MailboxMessages", "router.ConnectedMessages", "router.MailboxBytes")},
			{"| %t for each %s |", of("gateway/tcp.frameTime", "wire.readStep")},
			{"| a write to the client | %t in which none of it is taken", of("gateway/session.Write")},
		}},
		{"docs/limits.md", "## Jobs", []phrase{
			{"| jobs that are kept, ended ones included | %n |", of("control.Jobs")},
			{"| parts of one job; of all jobs that are kept | %n; %n |", of("wire.MaxParts", "control.Parts")},
			{"with names and labels | %s; %s |", of("jobs.MaxInput", "control.InputBytes")},
			{"| labels of a job | %n, each of at most %n bytes with its key |", of("wire.MaxLabels", "wire.MaxLabelSize")},
			{"| one result | %s |", of("wire.MaxResult")},
			{"in args, in an item, in a result | nested %n deep |", of("wire.MaxDepth")},
			{"with the error texts of its parts | %s (`--job-result-bytes`) |", of("control.JobResultBytes")},
			{"| the same of all jobs that are kept | %s (`--result-bytes`) |", of("control.ResultBytes")},
			{"| one error text | %s |", of("jobs.maxErrorText")},
		}},
		{"docs/limits.md", "## Components", []phrase{
			{"| components signed in | %n |", of("control.Components")},
			{"| names, labels, places and runtimes of all of them | %s |", of("control.ComponentBytes")},
			{"| labels of a component | %n, each of at most %n bytes with its key |", of("wire.MaxLabels", "wire.MaxLabelSize")},
			{"| the last %n, and the last %n that an operator removed |", of("registry.KeepEnded", "registry.KeepEnded")},
		}},
		{"docs/limits.md", "## News", []phrase{
			{"| events that a coordinator remembers | %n, and %s of them |", of("fsm.FeedSize", "fsm.FeedBytes")},
		}},
		{"docs/leco.md", "", []phrase{
			{"A sign-in is answered within %t,", of("gateway/leco.Answer")},
			{"or not made within %t. Until it is written, messages to other coordinators wait, up to %t.", of("gateway/leco.Provisional", "control.PostTime")},
			{"nothing for %t then; after %t it is asked for a `pong`", of("gateway/leco.Expiration*3", "gateway/leco.Expiration")},
			{"is told -32090 after %t:", of("gateway/leco.Nudge")},
			{"A message has at most %s and %n frames.", of("gateway/zmtp.MaxMessage", "gateway/zmtp.MaxFrames")},
			{"has %s of queue", of("gateway/zmtp.MaxQueue")},
			{"reads nothing for %t is cut off", of("gateway/zmtp.Patience")},
		}},
	} {
		b, err := os.ReadFile(filepath.Join("..", page.name))
		if err != nil {
			t.Fatal(err)
		}
		text := flat(string(b))
		limits := ""
		if page.limits != "" {
			_, after, _ := strings.Cut(string(b), page.limits+"\n")
			if limits = flat(regexp.MustCompile(`(?m)(^\|.*\n)+`).FindString(after)); limits == "" {
				t.Fatalf("%s has no table in %q", page.name, page.limits)
			}
		}
		for _, p := range page.phrases {
			says, err := code.fill(p)
			if err != nil {
				t.Fatalf("%s: %q: %v", page.name, p.format, err)
			}
			if !strings.Contains(text, says) {
				t.Errorf("%s lacks %q, which has the figures of %v", page.name, says, p.values)
			}
			limits = strings.ReplaceAll(limits, says, "|")
		}
		for _, row := range strings.Split(limits, "| |") {
			if regexp.MustCompile(`\d`).MatchString(row) {
				t.Errorf("%s, %s: no phrase of this test holds to the code: %s", page.name, page.limits, row)
			}
		}
	}
}

// phrase is text with values in it: %n a number, %s a size, %t a time.
type phrase struct {
	format string
	values []string
}

// of names values: dir.Name is a constant, or the default that a field of a
// Config gets; *k and /s multiply and turn into seconds; =v asserts instead of
// filling a place.
func of(values ...string) []string { return values }

var blanks = regexp.MustCompile(`\s+`)

func flat(s string) string { return blanks.ReplaceAllString(s, " ") }

// figures are the expressions behind constants and defaults, by directory.
type figures map[string]map[string]ast.Expr

func (f figures) fill(p phrase) (string, error) {
	values := p.values
	var err error
	says := regexp.MustCompile(`%[nst]`).ReplaceAllStringFunc(p.format, func(verb string) string {
		if len(values) == 0 {
			err = fmt.Errorf("too few values")
			return ""
		}
		v, e := f.value(values[0])
		if e != nil {
			err = e
		}
		values = values[1:]
		switch {
		case verb == "%s":
			return size(v)
		case verb == "%t":
			return span(time.Duration(v))
		}
		return number(v)
	})
	for _, v := range values {
		name, want, asserts := strings.Cut(v, "=")
		got, e := f.value(name)
		if d, _ := time.ParseDuration(want); !asserts || e != nil || time.Duration(got) != d {
			return "", fmt.Errorf("%s: it is %s, %v", v, time.Duration(got), e)
		}
	}
	return says, err
}

func number(v int64) string {
	s := strconv.FormatInt(v, 10)
	if v < 10_000 {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(v int64) string {
	for shift, unit := range map[int]string{20: "MiB", 10: "KiB"} {
		if v>>shift > 0 && v>>shift < 1024 && v%(1<<shift) == 0 {
			return fmt.Sprintf("%d %s", v>>shift, unit)
		}
	}
	return fmt.Sprintf("%d bytes", v)
}

func span(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%g s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%g min", d.Minutes())
	}
	return fmt.Sprintf("%g h", d.Hours())
}

// value is that of dir.Name, of a file of Python, or of a product of two.
func (f figures) value(ref string) (int64, error) {
	if ref, ok := strings.CutSuffix(ref, "/s"); ok {
		v, err := f.value(ref)
		return v / int64(time.Second), err
	}
	if a, b, ok := strings.Cut(ref, "*"); ok {
		x, err := f.value(a)
		if err != nil {
			return 0, err
		}
		y, err := f.value(b)
		return x * y, err
	}
	if n, err := strconv.ParseInt(ref, 10, 64); err == nil {
		return n, nil
	}
	if file, name, ok := strings.Cut(ref, ":"); ok {
		b, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			return 0, err
		}
		m := regexp.MustCompile(`(?m)^` + name + ` = ([0-9 <]+?) *(#|$)`).FindSubmatch(b)
		if m == nil {
			return 0, fmt.Errorf("no %s", ref)
		}
		e, err := parser.ParseExpr(string(m[1]))
		if err != nil {
			return 0, err
		}
		return f.eval("", e)
	}
	dot := strings.LastIndexByte(ref, '.')
	return f.named(ref[:dot], ref[dot+1:])
}

func (f figures) named(dir, name string) (int64, error) {
	if f[dir] == nil {
		if err := f.read(dir); err != nil {
			return 0, err
		}
	}
	e, ok := f[dir][name]
	if !ok {
		return 0, fmt.Errorf("no %s in %s", name, dir)
	}
	return f.eval(dir, e)
}

// read finds the constants of a package and the defaults that it gives to
// fields: set(&c.Field, v), or c.Field = v in an if.
func (f figures) read(dir string) error {
	f[dir] = map[string]ast.Expr{}
	names, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if i < len(n.Values) {
						f[dir][name.Name] = n.Values[i]
					}
				}
			case *ast.CallExpr:
				if len(n.Args) != 2 {
					return true
				}
				if at, ok := n.Args[0].(*ast.UnaryExpr); ok && at.Op == token.AND {
					if field, ok := at.X.(*ast.SelectorExpr); ok {
						f[dir][field.Sel.Name] = n.Args[1]
					}
				}
			case *ast.IfStmt:
				for _, s := range n.Body.List {
					if a, ok := s.(*ast.AssignStmt); ok && len(a.Lhs) == 1 && a.Tok == token.ASSIGN {
						if field, ok := a.Lhs[0].(*ast.SelectorExpr); ok && f[dir][field.Sel.Name] == nil {
							f[dir][field.Sel.Name] = a.Rhs[0]
						}
					}
				}
			}
			return true
		})
	}
	return nil
}

func (f figures) eval(dir string, e ast.Expr) (int64, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.ParseInt(e.Value, 0, 64)
	case *ast.ParenExpr:
		return f.eval(dir, e.X)
	case *ast.Ident:
		return f.named(dir, e.Name)
	case *ast.SelectorExpr:
		pkg := e.X.(*ast.Ident).Name
		if unit, ok := map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}[e.Sel.Name]; ok && pkg == "time" {
			return int64(unit), nil
		}
		return f.named(pkg, e.Sel.Name)
	case *ast.BinaryExpr:
		x, err := f.eval(dir, e.X)
		if err != nil {
			return 0, err
		}
		y, err := f.eval(dir, e.Y)
		if err != nil {
			return 0, err
		}
		switch e.Op {
		case token.ADD:
			return x + y, nil
		case token.SUB:
			return x - y, nil
		case token.MUL:
			return x * y, nil
		case token.SHL:
			return x << y, nil
		}
	}
	return 0, fmt.Errorf("%s: this test cannot reckon %T", dir, e)
}
