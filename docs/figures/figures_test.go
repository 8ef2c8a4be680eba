package main

import (
	"strings"
	"testing"
)

// The figures of the pages are those of the code.
func TestPagesAreFresh(t *testing.T) {
	if err := run("../..", true); err != nil {
		t.Error(err)
	}
}

func TestFill(t *testing.T) {
	c := &code{root: "../.."}
	p := page{limits: "## Limits", phrases: []phrase{
		{"at most %s long", of("wire.MaxMessage")},
		{"| a name | %n bytes |", of("wire.MaxName")},
		{"| a file | %s |", of("control/snapshots.MaxFile")},
		{"after %t without a ping", of("wire.DefaultPing*3")},
	}}
	const good = "It is at most\n64 MiB long, and after 15 s\nwithout a ping it is gone.\n\n## Limits\n\n| what | how much |\n|---|---|\n| a name | 100 bytes |\n| a file | 1 GiB |\n"
	stale := strings.NewReplacer("64 MiB", "7\nKiB", "15 s", "2.5 min", "100 bytes", "1,000 bytes", "1 GiB", "2 GiB").Replace(good)
	fresh, err := p.fill(c, stale)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.fill(c, fresh)
	if err != nil || again != fresh || strings.Contains(fresh, "KiB") || strings.Contains(fresh, "2.5") || strings.Contains(fresh, "1,000") || strings.Contains(fresh, "2 GiB") {
		t.Errorf("filled: %q, filled again: %q, %v", fresh, again, err)
	}
	for want, text := range map[string]string{
		"it lacks":        strings.Replace(good, "a name", "no name", 1),
		"no phrase holds": good + "| a label | 7 bytes |\n",
		"no table":        strings.Replace(good, "## Limits", "## Others", 1),
	} {
		if _, err := p.fill(c, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, ref := range []string{"wire.Nothing", "nowhere.Name", "sdk/python/folkmoot/session.py:NOTHING"} {
		if v, err := c.value(ref); err == nil {
			t.Errorf("%s is %d", ref, v)
		}
	}
}
