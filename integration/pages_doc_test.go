package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"go/format"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

// block is one fenced block of a page. What stands behind the fence says what
// is done with it:
//
//	sh start       how to start the cluster
//	sh run         commands, run to their end in the page's one shell
//	sh stays NAME  a command that runs until the end of the page and signs in as NAME
//	LANGUAGE FILE  a file for the commands
//	text           what the block right before it prints; … stands for what differs
type block struct {
	place string   // file:line
	kind  string   // the first word
	args  []string // the others
	text  string
	says  string // "" if no text follows
}

func (b block) is(words string) bool {
	return strings.HasPrefix(strings.Join(append([]string{b.kind}, b.args...), " ")+" ", words+" ")
}

var (
	fenced  = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$\n?")
	address = regexp.MustCompile(`(?:127\.0\.0\.1|localhost):\d+`)
)

// readPage returns the blocks of a page of the repository.
func readPage(t *testing.T, page string) (blocks []block) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", page))
	if err != nil {
		t.Fatal(err)
	}
	text, last := string(b), 0
	for _, m := range fenced.FindAllStringSubmatchIndex(text, -1) {
		place := fmt.Sprintf("%s:%d", page, 1+strings.Count(text[:m[0]], "\n"))
		words := append(strings.Fields(text[m[2]:m[3]]), "")
		in := text[m[4]:m[5]]
		if words[0] == "text" && len(blocks) > 0 && strings.TrimSpace(text[last:m[0]]) == "" {
			blocks[len(blocks)-1].says = in
		} else {
			blocks = append(blocks, block{place: place, kind: words[0], args: words[1 : len(words)-min(1, len(words)-1)], text: in})
		}
		last = m[1]
	}
	return blocks
}

// addresses are those of a running cluster by the ports of the pages.
type addresses map[string]string

func (a addresses) in(t *testing.T, b block) string {
	t.Helper()
	return address.ReplaceAllStringFunc(b.text, func(named string) string {
		own, ok := a[portOf(named)]
		if !ok {
			t.Errorf("%s asks %s, which README does not start", b.place, named)
		}
		return own
	})
}

// byHand starts the cluster that README tells how to start by hand, with its
// flags but ports and folders of its own. left are the other commands there.
func byHand(t *testing.T) (c *cluster, at addresses, left string) {
	t.Helper()
	page := readPage(t, "README.md")
	i := slices.IndexFunc(page, func(b block) bool { return b.is("sh start") })
	if i < 0 {
		t.Fatal("README does not tell how to start a cluster")
	}
	at = addresses{}
	for _, named := range address.FindAllString(page[i].text, -1) {
		if at[portOf(named)] == "" {
			at[portOf(named)] = ports(t, 1)[0]
		}
	}
	c = &cluster{t: t, dir: t.TempDir()}
	peers := ""
	for _, line := range strings.Split(strings.TrimSpace(at.in(t, page[i])), "\n") {
		args, starts := strings.CutPrefix(line, "bin/coordinator ")
		switch value, sets := strings.CutPrefix(line, "PEERS="); {
		case sets:
			peers = value
		case starts:
			args, _, _ = strings.Cut(args, " 2>") // its log: the harness has it
			c.asTold(strings.Fields(strings.ReplaceAll(args, "$PEERS", peers)))
		case strings.HasPrefix(line, "go build "): // TestMain has
		default:
			left += line + "\n"
		}
	}
	for _, p := range c.nodes {
		p.start()
	}
	c.waitHealthy(len(c.nodes))
	return c, at, left
}

// asTold adds a coordinator with these arguments, but its data is in the
// cluster's folder, and a busy machine does not make it hold elections while a
// page is followed.
func (c *cluster) asTold(args []string) {
	c.t.Helper()
	value := func(flag string) *string {
		i := slices.Index(args, flag)
		if i < 0 || i+1 == len(args) {
			c.t.Fatalf("coordinator %s: there is no %s", strings.Join(args, " "), flag)
		}
		return &args[i+1]
	}
	data := value("--data-dir")
	*data = filepath.Join(c.dir, *data)
	p := &process{
		t: c.t, name: *value("--id"), program: "coordinator", data: *data, log: &logFile{},
		args: append(args, "--heartbeat-timeout", "3s", "--election-timeout", "3s"),
		http: *value("--http-addr"), peer: *value("--peer-addr"), ops: *value("--ops-addr"),
	}
	c.nodes = append(c.nodes, p)
	c.t.Cleanup(p.end)
}

// shell is the bash that carries out the commands of one page, in a folder that
// looks to them like a clone with bin built.
type shell struct {
	t     *testing.T
	c     *cluster
	at    addresses
	dir   string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	count int
	stay  []stayer
}

// stayer is a command that runs on.
type stayer struct {
	block block
	name  string // who it signed in as
	pid   int    // and process group
	file  string // what it prints
}

func (c *cluster) shell(at addresses) *shell {
	c.t.Helper()
	s := &shell{t: c.t, c: c, at: at, dir: c.t.TempDir(), cmd: exec.Command("bash")}
	root, err := filepath.Abs("..")
	if err != nil {
		c.t.Fatal(err)
	}
	for name, to := range map[string]string{"bin": bin, "sdk": filepath.Join(root, "sdk")} {
		if err := os.Symlink(to, filepath.Join(s.dir, name)); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.dir, "lab"), 0o700); err != nil {
		c.t.Fatal(err)
	}
	s.write("go.work", "go 1.26.0\nuse "+strconv.Quote(root)+"\n")
	s.cmd.Dir = s.dir
	s.cmd.Env = append(cleanEnv(), "GOWORK="+filepath.Join(s.dir, "go.work"), "XDG_CONFIG_HOME="+s.dir, "PYTHONDONTWRITEBYTECODE=1")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		c.t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	s.cmd.Stderr, s.out = s.cmd.Stdout, bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(s.kill)
	s.do("set -eu -o pipefail")
	return s
}

func (s *shell) kill() {
	for _, one := range s.stay {
		_ = syscall.Kill(-one.pid, syscall.SIGKILL)
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
}

func (s *shell) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// do carries out commands and returns what they print. Unless all of them
// succeed, and within patience, the test ends.
func (s *shell) do(commands string) string {
	s.t.Helper()
	s.count++
	mark := fmt.Sprintf("==== end of %d\n", s.count)
	late := time.AfterFunc(patience, func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	if _, err := fmt.Fprintf(s.in, "{\n%s\n} </dev/null\nprintf '\\n%s'\n", commands, strings.ReplaceAll(mark, "\n", `\n`)); err != nil {
		s.t.Fatalf("the shell has ended: %v", err)
	}
	var said strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if line == mark {
			return strings.TrimSuffix(said.String(), "\n") // the one before the mark
		}
		said.WriteString(line)
		if err != nil {
			s.t.Fatalf("these commands failed, or did not end within %v:\n%s\nthey printed:\n%s", patience, commands, said.String())
		}
	}
}

// follow does what a block says and checks what it prints.
func (s *shell) follow(b block) {
	s.t.Helper()
	switch {
	case b.is("sh run"):
		s.prints(b, s.do(s.at.in(s.t, b)))
	case b.is("sh stays") && len(b.args) == 2:
		s.stays(b, b.args[1])
	case b.kind != "sh" && len(b.args) == 1 && filepath.IsLocal(b.args[0]):
		s.save(b)
	default:
		s.t.Errorf("%s: nothing runs this block", b.place)
	}
}

// save writes a file. That of a Go program must be formatted, and is compiled
// here, with all that it imports, so that no command has to wait for that.
func (s *shell) save(b block) {
	s.t.Helper()
	s.write(b.args[0], b.text)
	if b.kind != "go" {
		return
	}
	if tidy, err := format.Source([]byte(b.text)); err != nil || string(tidy) != b.text {
		s.t.Errorf("%s is not formatted: %v", b.place, err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", os.DevNull, b.args[0])
	build.Dir, build.Env = s.dir, s.cmd.Env
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", b.place, err, out)
	}
}

// stays starts a command in a process group of its own and waits until it has
// signed in.
func (s *shell) stays(b block, name string) {
	s.t.Helper()
	file := fmt.Sprintf("stays-%d", s.count)
	s.write(file, "")
	one := stayer{block: b, name: name, file: filepath.Join(s.dir, file)}
	said := s.do(fmt.Sprintf("set -m\n{\n%s\n} >%s 2>&1 &\nset +m\necho $!", s.at.in(s.t, b), one.file))
	var err error
	if one.pid, err = strconv.Atoi(strings.TrimSpace(said)); err != nil {
		s.t.Fatalf("%s: its process is %q", b.place, said)
	}
	s.stay = append(s.stay, one)
	eventually(s.t, name+" to sign in", func(ctx context.Context) error {
		_, _, err := s.c.api().Component(ctx, name, client.Read{})
		if err != nil {
			err = fmt.Errorf("%w; it printed: %s", err, one.printed(s.t))
		}
		return err
	})
}

func (one stayer) printed(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(one.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// interrupt ends what stayed since there were keep of them, as Ctrl-C does: it
// must sign out and end well.
func (s *shell) interrupt(keep int) {
	s.t.Helper()
	for len(s.stay) > keep {
		one := s.stay[len(s.stay)-1]
		if err := syscall.Kill(-one.pid, syscall.SIGINT); err != nil {
			s.t.Fatalf("%s has ended: %v\n%s", one.block.place, err, one.printed(s.t))
		}
		if said := s.do(fmt.Sprintf("wait %d && echo 0 || echo $?", one.pid)); strings.TrimSpace(said) != "0" {
			s.t.Errorf("%s ended with %s\n%s", one.block.place, said, one.printed(s.t))
		}
		s.stay = s.stay[:len(s.stay)-1]
		s.prints(one.block, one.printed(s.t))
		if _, _, err := s.c.api().Component(s.t.Context(), one.name, client.Read{Consistency: "strict"}); wire.CodeOf(err) != wire.CodeNotFound {
			s.t.Errorf("%s: after its end %s is signed in: %v", one.block.place, one.name, err)
		}
	}
}

// prints compares what a block printed with what its page says.
func (s *shell) prints(b block, said string) {
	s.t.Helper()
	if b.says == "" {
		return
	}
	want := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(b.says), "…", `[^"\n]+`) + "$")
	if !want.MatchString(said) {
		s.t.Errorf("%s printed\n%s\nand the page says\n%s", b.place, said, b.says)
	}
}
