package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/folkmoot/folkmoot/gateway/pyenv"
)

// What README shows works as written, in the order in which it is written,
// against the cluster that it tells how to start.
func TestREADME(t *testing.T) {
	t.Parallel()
	c, at, left := byHand(t)
	c.haveWorkers(1)
	s := c.shell(at)
	if said := s.do(left); strings.Count(said, " voter ") != 3 || !strings.Contains(said, "leader") {
		t.Errorf("the cluster by hand: %s", said)
	}
	wants := [][]string{
		{`"full_name":"n1.laser"`, `"full_name":"n2.camera"`, `"secret":"`},
		{`"n1.laser"`, `"n2.camera"`, `"outcome":"delivered"`, `pulse in 3 s`, `"from":"n1.laser"`},
		{`"full_name":"n1.laser"`, `"home":"n1"`},
		{`"id":"squares"`, `"result":1,`, `"result":4,`, `"result":9,`, `"result":16,`},
		{`name_taken`, `n1.laser`},
	}
	for _, b := range readPage(t, "README.md") {
		if !b.is("sh run") {
			continue
		}
		if len(wants) == 0 {
			t.Fatalf("%s: this test knows no such block", b.place)
		}
		said := s.do(at.in(t, b))
		for _, w := range wants[0] {
			if !strings.Contains(said, w) {
				t.Errorf("%s lacks %s; it printed:\n%s", b.place, w, said)
			}
		}
		wants = wants[1:]
		if bad := regexp.MustCompile(`"code":"[a-z_]+"`).FindString(said); bad != "" && len(wants) > 0 {
			t.Errorf("%s was refused with %s:\n%s", b.place, bad, said)
		}
	}
	if len(wants) > 0 {
		t.Errorf("README has no block that prints %s", wants)
	}
	c.agree()
}

// The components that docs/messages.md shows run, work with each other and
// print what the page says; each of its blocks is run, or is what one prints.
func TestMessagesPage(t *testing.T) {
	t.Parallel()
	python(t)
	c, at, _ := byHand(t)
	s := c.shell(at)
	page := readPage(t, "docs/messages.md")
	for len(page) > 0 && !page[0].is("sh venv") {
		s.follow(page[0])
		page = page[1:]
	}
	if len(page) == 0 || len(s.stay) != 3 {
		t.Fatalf("docs/messages.md has lost its part of pyleco, or one of its components: %d stay", len(s.stay))
	}
	t.Run("pyleco", func(t *testing.T) {
		venv := filepath.Dir(filepath.Dir(pyenv.Python(t, pyenv.LECO...)))
		for _, pin := range pyenv.LECO {
			if !strings.Contains(page[0].text, pin) {
				t.Errorf("%s does not install %s", page[0].place, pin)
			}
		}
		if err := os.Symlink(venv, filepath.Join(s.dir, ".venv")); err != nil {
			t.Fatal(err)
		}
		outer := s.t
		s.t = t
		defer func() { s.t = outer }()
		for _, b := range page[1:] {
			s.follow(b)
		}
		s.interrupt(3)
	})
	s.interrupt(0)
	c.agree()
}

// The jobs that docs/jobs.md shows run and give what the page says.
func TestJobsPage(t *testing.T) {
	t.Parallel()
	python(t)
	followByHand(t, readPage(t, "docs/jobs.md"), func(c *cluster, _ *shell) { c.haveWorkers(1) })
}

// The snapshots of docs/backup.md are taken, and checked as the page says.
func TestBackupPage(t *testing.T) {
	t.Parallel()
	followByHand(t, readPage(t, "docs/backup.md"), nil)
}

// The audit page's commands, with the trail of the cluster that README starts by hand.
func TestAuditPage(t *testing.T) {
	t.Parallel()
	page := slices.DeleteFunc(readPage(t, "docs/audit.md"), func(b block) bool { return b.kind == "" }) // a line of the trail
	followByHand(t, page, func(c *cluster, s *shell) {
		if err := os.Symlink(c.nodes[0].data, filepath.Join(s.dir, "data", "n1")); err != nil {
			t.Fatal(err)
		}
	})
}

// followByHand carries out a page's blocks with the cluster that README starts by hand,
// which prepare (nil: nothing) makes ready for them.
func followByHand(t *testing.T, page []block, prepare func(*cluster, *shell)) {
	t.Helper()
	c, at, left := byHand(t)
	s := c.shell(at)
	s.do(left)
	if prepare != nil {
		prepare(c, s)
	}
	for _, b := range page {
		s.follow(b)
	}
	c.agree()
}

// Every link from one page to another leads somewhere, down to the heading.
func TestLinksOfThePages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)\s]*)\)`)
	links := 0
	for _, page := range append(pages, "../README.md", "../ARCHITECTURE.md", "../sdk/python/README.md") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(b), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			to, heading, _ := strings.Cut(m[1], "#")
			file := filepath.Join(filepath.Dir(page), to)
			if to == "" {
				file = page
			}
			there, err := os.Stat(file)
			if err != nil || heading != "" && (there.IsDir() || !headings(t, file)[heading]) {
				t.Errorf("%s: nothing is at %s", page, m[1])
			}
		}
	}
	if links == 0 {
		t.Error("no page links to another")
	}
}

// headings are those of a page as links name them.
func headings(t *testing.T, page string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fenced.ReplaceAllString(string(b), ""), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return all
}

// The files and the tests that a page names are there.
func TestNamesInThePages(t *testing.T) {
	t.Parallel()
	pages := []string{"../README.md", "../ARCHITECTURE.md", "../CONTRIBUTING.md"}
	for _, pattern := range []string{"../docs/*.md", "../*/DESIGN.md", "../*/*/DESIGN.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	tests := map[string]bool{}
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			b, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(b), -1) {
				tests[m[1]] = true
			}
		}
	}
	file := regexp.MustCompile("`([a-z]+/[a-z0-9_/]+\\.(?:go|py|md|yaml))`")
	test := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	named := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range file.FindAllStringSubmatch(string(b), -1) {
			named++
			_, inRoot := os.Stat(filepath.Join("..", m[1]))
			_, beside := os.Stat(filepath.Join(filepath.Dir(page), m[1]))
			if inRoot != nil && beside != nil {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
		for _, m := range test.FindAllStringSubmatch(string(b), -1) {
			named++
			if !tests[m[1]] {
				t.Errorf("%s names %s, which is no test", page, m[1])
			}
		}
	}
	if named < 80 {
		t.Errorf("only %d names were looked for", named)
	}
}
