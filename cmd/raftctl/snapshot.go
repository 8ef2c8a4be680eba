package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/backup"
	"github.com/folkmoot/folkmoot/fsm"
	"github.com/folkmoot/folkmoot/fsm/snapfile"
)

func (a *app) snapshotCmd() *cobra.Command {
	return group("snapshot", "The whole state of the cluster as a file", a.snapshotSaveCmd(), a.snapshotInspectCmd(), a.snapshotVerifyCmd(), a.snapshotRestoreCmd())
}

// snapshotFile is what is told of a snapshot, as JSON.
type snapshotFile struct {
	File string `json:"file"`
	snapfile.Header
	Rows   int            `json:"rows"`
	Tables map[string]int `json:"tables,omitempty"`
	Size   int64          `json:"size"`            // of the file
	Bytes  int64          `json:"bytes,omitempty"` // uncompressed
}

func (a *app) snapshotSaveCmd() *cobra.Command {
	var verify bool
	dir := backup.Dir{Keep: 48}
	cmd := &cobra.Command{
		Use: "save FILE", Short: "Save the state of the cluster in a file; - is standard output", Args: cobra.MaximumNArgs(1),
		Long: "Saves a state that is at least as new as the call. Nothing waits for it: writes go on meanwhile. The file has its name only\n" +
			"once it is whole, checked and on the disk; if anything breaks, what was there before stays. It holds scripts, results and\n" +
			"labels, and of tokens and secrets only their hashes. With --dir the file is called folkmoot-CLUSTER-INDEX-TIME.snap.gz, and\n" +
			"the oldest ones of the cluster beyond --keep are removed. --verify also reads every row of it back.",
		Example: "  raftctl snapshot save lab.snap.gz\n  raftctl snapshot save --dir /backup --keep 48 --verify",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && dir.Path == "" || len(args) == 1 && (dir.Path != "" || args[0] == ""):
				return usage("snapshot save: give one of FILE and --dir")
			case dir.Keep < 1:
				return usage("--keep %d: at least 1", dir.Keep)
			case cmd.Flags().Changed("keep") && dir.Path == "":
				return usage("--keep is of --dir: a FILE is one file")
			}
			check := backup.Check(backup.Whole)
			if verify {
				check = checkEveryRow
			}
			write := func(w io.Writer) error { return a.download(cmd.Context(), w) }
			switch {
			case dir.Path != "":
				return a.saveInDir(dir, write, check)
			case args[0] == "-":
				return a.pipeSnapshot(write, check)
			}
			made, err := backup.Write(args[0], write, check)
			if err != nil {
				return err
			}
			return a.saved(backup.Saved{Content: made, Path: args[0]})
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "read every row back, as snapshot verify does, before the file has its name")
	cmd.Flags().StringVar(&dir.Path, "dir", "", "directory to save into, in place of FILE")
	cmd.Flags().IntVar(&dir.Keep, "keep", dir.Keep, "how many files of the cluster stay in --dir")
	return cmd
}

// download writes the state of the cluster to w.
func (a *app) download(ctx context.Context, w io.Writer) error {
	body, _, err := a.client.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	if n, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	return nil
}

// checkEveryRow is a backup.Check.
func checkEveryRow(r io.Reader) (backup.Content, error) {
	f, err := fsm.ReadFile(r)
	if err != nil {
		return backup.Content{}, err
	}
	return backup.Content{Header: f.Header, Rows: f.Rows, Tables: f.Tables, Bytes: f.Bytes}, nil
}

func (a *app) saveInDir(dir backup.Dir, write func(io.Writer) error, check backup.Check) error {
	dir.Check = check
	made, err := dir.Save(write)
	if err != nil && made.Path == "" {
		return err
	}
	return errors.Join(err, a.saved(made))
}

// pipeSnapshot writes a snapshot to standard output, and checks it on its way.
func (a *app) pipeSnapshot(write func(io.Writer) error, check backup.Check) error {
	r, w := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		_, err := check(r)
		_, rest := io.Copy(io.Discard, r) // the writer is never stopped by what is read
		checked <- errors.Join(err, rest)
	}()
	err := write(io.MultiWriter(a.out, w))
	w.Close()
	if wrong := <-checked; err == nil {
		err = wrong
	}
	return err
}

// saved tells which file there is now.
func (a *app) saved(made backup.Saved) error {
	info, err := os.Stat(made.Path)
	if err != nil {
		return err
	}
	f := snapshotOf(made.Path, info.Size(), made.Content)
	line := fmt.Sprintf("%s: cluster %s at index %d, %d rows, %d bytes", f.File, f.Cluster, f.Index, f.Rows, f.Size)
	if made.Removed > 0 {
		line += fmt.Sprintf("; %d older removed", made.Removed)
	}
	a.warnOfRestore(f)
	return a.made(f, "snapshot/"+f.File, "%s", clean(line))
}

func snapshotOf(path string, size int64, c backup.Content) snapshotFile {
	return snapshotFile{File: path, Header: c.Header, Rows: c.Rows, Tables: c.Tables, Size: size, Bytes: c.Bytes}
}

// warnOfRestore tells of a file that is larger than what a coordinator restores.
func (a *app) warnOfRestore(f snapshotFile) {
	if f.Size > fsm.MaxRestoreFile {
		fmt.Fprintf(a.err, "raftctl: %s: at most %d bytes can be restored\n", clean(f.File), fsm.MaxRestoreFile)
	}
	if f.Bytes > fsm.DefaultRestoreBytes {
		fmt.Fprintf(a.err, "raftctl: %s: of %d bytes uncompressed; to restore it, coordinators need --restore-bytes of as many, which is %d by default, and four times the memory\n",
			clean(f.File), f.Bytes, fsm.DefaultRestoreBytes)
	}
}

func (a *app) snapshotInspectCmd() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Show what a snapshot is of, and how much is in it", Args: cobra.ExactArgs(1),
		Long:              "Reads the file alone, and asks nobody. What is no whole snapshot is refused with the first line that is wrong.",
		Example:           "  raftctl snapshot inspect lab.snap.gz",
		PersistentPreRunE: a.offline,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := inspect(args[0])
			if err != nil {
				return err
			}
			return a.show(a.out, answer{
				body: marshal(f), names: []string{"snapshot/" + args[0]},
				table: func(bool) *table { return a.inspected(f) },
			})
		},
	}
}

// inspect reads a snapshot to its end. Its error names the file.
func inspect(path string) (snapshotFile, error) { return checked(path, backup.Whole) }

// checked tells what is in a snapshot that check finds nothing wrong with. Its error names the file.
func checked(path string, check backup.Check) (out snapshotFile, err error) {
	err = withFile(path, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		content, err := check(f)
		if err != nil {
			return err
		}
		out = snapshotOf(path, info.Size(), content)
		return nil
	})
	return out, err
}

// withFile opens a file for do; every error names it.
func withFile(path string, do func(*os.File) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	if err := do(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// inspected is the header and the number of rows of each table.
func (a *app) inspected(f snapshotFile) *table {
	t := a.table("what", "value")
	t.row("cluster", f.Cluster)
	t.row("index", f.Index)
	t.row("term", f.Term)
	t.row("level", f.Level)
	t.row("created", f.Created.Format(time.RFC3339)+" by "+f.Coordinator)
	t.row("format", fmt.Sprintf("%s, version %d", f.Format, f.Version))
	t.row("size", fmt.Sprintf("%d bytes, %d uncompressed", f.Size, f.Bytes))
	t.row("rows", f.Rows)
	for _, name := range slices.Sorted(maps.Keys(f.Tables)) {
		t.row("  "+name, f.Tables[name])
	}
	return t
}

func (a *app) snapshotVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "Check that a snapshot is whole, unchanged, and of a state", Args: cobra.ExactArgs(1),
		Long: "Reads the file alone, and asks nobody. It checks the hash over all lines, every row, and what rows say of each other, and\n" +
			"ends with exit status 1 and the first line that is wrong.",
		Example:           "  raftctl snapshot verify lab.snap.gz",
		PersistentPreRunE: a.offline,
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := checked(args[0], checkEveryRow)
			if err != nil {
				return err
			}
			out.Tables = nil
			a.warnOfRestore(out)
			return a.made(out, "snapshot/"+args[0], "%s: whole and unchanged, cluster %s at index %d, %d rows", clean(filepath.Clean(args[0])), clean(out.Cluster), out.Index, out.Rows)
		},
	}
}

func (a *app) snapshotRestoreCmd() *cobra.Command {
	var cluster string
	var foreign bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put the state of a snapshot in place of the cluster's, all of it or nothing", Args: cobra.ExactArgs(1),
		Long: "Replaces the whole state: jobs and results that are not in the file are gone. Every session ends, and components sign in anew.\n" +
			"Members, and the tokens of this cluster, stay as they are. The file is checked whole, here and there, before anything is\n" +
			"changed. On a terminal it asks for the id of the cluster; elsewhere --cluster gives it (raftctl status shows it). A file of\n" +
			"another cluster needs --foreign, and brings its tokens.",
		Example: "  raftctl snapshot restore lab.snap.gz --cluster 428c35555761d0ac",
		RunE: func(cmd *cobra.Command, args []string) error {
			read, file, err := readSnapshot(args[0])
			if err != nil {
				return err
			}
			if cluster == "" {
				if cluster, err = a.askCluster(cmd.Context(), read); err != nil {
					return err
				}
			}
			done, meta, err := a.client.Restore(cmd.Context(), file, cluster, foreign)
			if err != nil {
				return err
			}
			return a.done(meta.Body, "snapshot/"+args[0], "cluster %s has the state of cluster %s at index %d, %d rows, since index %d; all sessions have ended",
				done.Cluster, clean(done.FileCluster), done.FileIndex, done.Rows, done.Index)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "id of the cluster whose state is replaced")
	cmd.Flags().BoolVar(&foreign, "foreign", false, "the snapshot may be of another cluster; its tokens come too")
	return cmd
}

// readSnapshot returns a file that is whole, and what it is of.
func readSnapshot(path string) (content backup.Content, all []byte, err error) {
	err = withFile(path, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Size() > fsm.MaxRestoreFile {
			return fmt.Errorf("%d bytes: at most %d can be restored", info.Size(), fsm.MaxRestoreFile)
		}
		if all, err = io.ReadAll(f); err == nil {
			content, err = checkEveryRow(bytes.NewReader(all))
		}
		return err
	})
	return content, all, err
}

// askCluster asks for the id of the cluster that is overwritten, on a terminal.
func (a *app) askCluster(ctx context.Context, f backup.Content) (string, error) {
	if !terminal(a.in) || !terminal(a.err) {
		return "", usage("snapshot restore: give --cluster ID, the id of the cluster whose state is replaced (raftctl status shows it)")
	}
	status, _, err := a.client.Status(ctx)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(a.err, "The state of cluster %s is replaced by that of %s at index %d, %d rows. Type the id of the cluster: ",
		status.ClusterID, clean(f.Header.Cluster), f.Header.Index, f.Rows)
	var typed string
	if _, err := fmt.Fscanln(a.in, &typed); err != nil || typed != status.ClusterID {
		return "", errors.New("not confirmed, nothing was done")
	}
	return typed, nil
}
