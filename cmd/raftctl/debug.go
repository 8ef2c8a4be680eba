package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/cmd/version"
	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/durable"
)

// Bounds of what one coordinator may answer, packed and unpacked, and how long it may take
// beside the profile.
const (
	maxDebugPacked = 64 << 20
	maxDebugBytes  = 512 << 20
	maxDebugFiles  = 1000
	debugTime      = time.Minute
)

func (a *app) debugCmd() *cobra.Command {
	var cpu time.Duration
	cmd := &cobra.Command{
		Use: "debug FILE.tar.gz", Short: "What every coordinator knows of itself, in one file, to look for a fault", Args: cobra.ExactArgs(1),
		Long: "Asks every member that it reaches, and every address of --addr: status, members, metrics, goroutines, heap, settings with their\n" +
			"origin, and the last lines of the log; with --cpu also what the processor is busy with meanwhile. The file has a directory\n" +
			"for each. What could not be had is said by a file missing.txt, or NAME.missing.txt. No secret, message or script is in it,\n" +
			"but names and addresses are. The token must have the right admin.",
		Example: "  raftctl debug folkmoot.tar.gz\n  raftctl debug folkmoot.tar.gz --cpu 10s",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case cpu < 0 || cpu > wire.LongestCPUProfile:
				return usage("--cpu %s: at most %s", cpu, wire.LongestCPUProfile)
			case args[0] == "" || args[0] == "-":
				return usage("debug: give the name of a file")
			}
			return a.debug(cmd.Context(), args[0], cpu)
		},
	}
	cmd.Flags().DurationVar(&cpu, "cpu", 0, "how long to look at what the processors do, at most 30s (default: not)")
	return cmd
}

// debugMember is one coordinator of the file, and what came of asking it.
type debugMember struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Error   string `json:"error,omitempty"`

	packed []byte
}

// debugFile is what raftctl debug has made, as JSON.
type debugFile struct {
	File    string         `json:"file"`
	Made    time.Time      `json:"made"`
	By      string         `json:"by"`
	CPU     string         `json:"cpu,omitempty"`
	Members []*debugMember `json:"members"`
}

func (a *app) debug(ctx context.Context, file string, cpu time.Duration) error {
	members, err := a.debugMembers(ctx)
	if err != nil {
		return err
	}
	var asked sync.WaitGroup
	for _, m := range members {
		asked.Go(func() {
			var err error
			if m.packed, err = a.debugOf(ctx, m.Address, cpu); err != nil {
				m.Error = err.Error()
			}
		})
	}
	asked.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out := debugFile{File: file, Made: a.now().UTC().Truncate(time.Second), By: version.Line("raftctl"), Members: members}
	if cpu > 0 {
		out.CPU = cpu.String()
	}
	if got := slices.ContainsFunc(members, func(m *debugMember) bool { return m.Error == "" }); !got {
		return fmt.Errorf("nobody gave anything out, and no file was made: %s: %s", clean(members[0].ID), clean(members[0].Error))
	}
	if err := durable.WriteFile(file, out.write); err != nil {
		return err
	}
	return a.debugged(out)
}

// debugged tells what is in the file, and of whom nothing is.
func (a *app) debugged(out debugFile) error {
	var there []string
	for _, m := range out.Members {
		if m.Error == "" {
			there = append(there, m.ID)
		} else {
			fmt.Fprintf(a.err, "raftctl: nothing of %s (%s): %s\n", clean(m.ID), clean(m.Address), clean(m.Error))
		}
	}
	return a.made(out, "debug/"+out.File, "%s has what was had of %s", clean(out.File), clean(strings.Join(there, ", ")))
}

// debugMembers are the coordinators to ask: those at the addresses given, and the members
// that they name.
func (a *app) debugMembers(ctx context.Context) (all []*debugMember, err error) {
	known := map[string]bool{}
	add := func(id, addr string) {
		if !known[id] {
			known[id] = true
			all = append(all, &debugMember{ID: id, Address: addr})
		}
	}
	given := a.client.Addrs()
	for _, addr := range given {
		one, cancel := context.WithTimeout(ctx, a.flags.timeout)
		err := a.only(addr, func(c *client.Client) error {
			s, _, err := c.Status(one)
			if err == nil {
				add(s.ID, addr)
			}
			return err
		})
		cancel()
		if err != nil {
			add(strings.TrimPrefix(strings.TrimPrefix(addr, "https://"), "http://"), addr)
		}
	}
	list, _, err := a.client.Members(ctx, client.Read{Consistency: "stale"})
	if err != nil {
		return nil, err
	}
	scheme, _, _ := strings.Cut(given[0], "://")
	for _, m := range list.Members {
		add(m.ID, scheme+"://"+m.HTTPAddress)
	}
	slices.SortFunc(all, func(x, y *debugMember) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}

// only calls do with a client of one address alone.
func (a *app) only(addr string, do func(*client.Client) error) error {
	config, err := a.flags.client.Config()
	if err != nil {
		return err
	}
	config.Addrs, config.Silent, config.UserAgent = []string{addr}, 1, "raftctl"
	config.Timeout, config.Attempt = a.flags.timeout, min(a.flags.timeout, client.DefaultAttempt)
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// debugOf is the file that one coordinator gives out.
func (a *app) debugOf(ctx context.Context, addr string, cpu time.Duration) (packed []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout+cpu+debugTime)
	defer cancel()
	err = a.only(addr, func(c *client.Client) error {
		body, _, err := c.DebugBundle(ctx, cpu)
		if err != nil {
			return err
		}
		defer body.Close()
		packed, err = io.ReadAll(io.LimitReader(body, maxDebugPacked+1))
		if err == nil && len(packed) > maxDebugPacked {
			err = fmt.Errorf("it answers more than %d bytes", maxDebugPacked)
		}
		return err
	})
	return packed, err
}

// write writes the file. What a coordinator answered, and cannot be read, is missing.
func (f *debugFile) write(w io.Writer) error {
	zip := gzip.NewWriter(w)
	to := tar.NewWriter(zip)
	for _, m := range f.Members {
		files, err := unpackDebug(m.packed, maxDebugBytes)
		if m.Error == "" && err != nil {
			m.Error = fmt.Sprintf("what it answers is no whole file: %v", err)
		}
		if m.Error != "" {
			files = append(files, unpacked{"missing.txt", []byte(m.ID + " at " + m.Address + ": " + m.Error + "\n")})
		}
		for _, one := range files {
			if err := f.add(to, fileName(m.ID)+"/"+one.name, one.content); err != nil {
				return err
			}
		}
	}
	about, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(f.add(to, "bundle.json", append(about, '\n')), to.Close(), zip.Close())
}

func (f *debugFile) add(to *tar.Writer, name string, content []byte) error {
	if err := to.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o600, ModTime: f.Made}); err != nil {
		return err
	}
	_, err := to.Write(content)
	return err
}

// unpacked is one file that a coordinator has answered.
type unpacked struct {
	name    string
	content []byte
}

// unpackDebug returns the files of a coordinator's answer, of which it unpacks at most so many
// bytes; with an error those before the fault. Nothing of their names but the last part counts.
func unpackDebug(packed []byte, most int64) (files []unpacked, err error) {
	if len(packed) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	bounded := &io.LimitedReader{R: zip, N: most} // headers of files count, too
	for from := tar.NewReader(bounded); ; {
		h, err := from.Next()
		var content []byte
		if err == nil && h.Typeflag == tar.TypeReg {
			content, err = io.ReadAll(from)
		}
		switch {
		case err != nil && bounded.N <= 0:
			return files, fmt.Errorf("it has more than %d bytes", most)
		case errors.Is(err, io.EOF):
			return files, nil
		case err != nil:
			return files, err
		case h.Typeflag != tar.TypeReg:
			continue
		case len(files) == maxDebugFiles:
			return files, fmt.Errorf("it has more than %d files", maxDebugFiles)
		}
		files = append(files, unpacked{fileName(path.Base(h.Name)), content})
	}
}

// fileName is a name as that of a file, whatever it was.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, name)
	if strings.Trim(name, ".") == "" {
		return "_" + name
	}
	return name
}
