package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) caRotateCmd() *cobra.Command {
	return group("rotate", "Change the authority without an interruption: begin, switch, finish", a.rotateBeginCmd(), a.rotateSwitchCmd(), a.rotateFinishCmd())
}

func (a *app) rotateBeginCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "begin", Short: "Make the next authority: ca.pem trusts the old and the new", Args: cobra.NoArgs,
		Long: "The old authority goes on signing. Copy ca.pem to every coordinator before the next step, rotate switch; raftctl ca show tells\n" +
			"who trusts the new one.",
		Example:           "  raftctl ca rotate begin --dir tls",
		PersistentPreRunE: a.offline,
		RunE: func(*cobra.Command, []string) error {
			next, err := certfile.Authority{Dir: dir}.Begin()
			if err != nil {
				return err
			}
			mark := authority.Fingerprint(next.Certificate())
			return a.made(map[string]string{"authority": mark, "dir": dir}, "authority/"+mark, "%s trusts the next authority, %s, as well: copy ca.pem to every coordinator, then rotate switch", dir, mark)
		},
	}
	rotateDir(cmd, &dir)
	return cmd
}

func rotateDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", "directory of the authority")
	_ = cmd.MarkFlagRequired("dir")
}

// rotateStep is a step that the members must be ready for.
func (a *app) rotateStep(cmd *cobra.Command, step func(dir string, check func(ready func(wire.MemberCertificate) string) error) error) *cobra.Command {
	var dir string
	var unchecked bool
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return step(dir, func(ready func(wire.MemberCertificate) string) error {
			if unchecked {
				return nil
			}
			return a.membersReady(cmd.Context(), ready)
		})
	}
	rotateDir(cmd, &dir)
	cmd.Flags().BoolVar(&unchecked, "unchecked", false, "do not ask the members: for a cluster that is stopped")
	return cmd
}

// membersReady asks the cluster, and refuses as long as a member is not ready or cannot tell.
func (a *app) membersReady(ctx context.Context, ready func(wire.MemberCertificate) string) error {
	m, _, err := a.client.Members(ctx, client.Read{})
	if err != nil {
		return err
	}
	var not []string
	for _, row := range m.Members {
		switch {
		case row.Certificate == nil || !row.Alive:
			not = append(not, row.ID+" does not tell: it is not reached, or has no TLS on its peer port")
		default:
			if why := ready(*row.Certificate); why != "" {
				not = append(not, row.ID+" "+why)
			}
		}
	}
	if len(not) > 0 {
		return errors.New("not yet, nothing was changed: " + strings.Join(not, "; "))
	}
	return nil
}

func (a *app) rotateSwitchCmd() *cobra.Command {
	return a.rotateStep(&cobra.Command{
		Use: "switch", Short: "Have the next authority sign: ca-key.pem is its key",
		Long: "Refused while a member does not trust the next authority yet. Afterwards copy ca-key.pem to the coordinators that sign, which\n" +
			"make their certificates anew by themselves; give the others new ones (ca issue). Then rotate finish.",
		Example: "  raftctl ca rotate switch --dir tls --addr n1:7380 --ca tls/ca.pem",
	}, func(dir string, check func(func(wire.MemberCertificate) string) error) error {
		files := certfile.Authority{Dir: dir}
		next, err := files.Next()
		if err != nil {
			return err
		}
		mark := authority.Fingerprint(next.Certificate())
		if err := check(func(c wire.MemberCertificate) string {
			if slices.Contains(c.Trusts, mark) {
				return ""
			}
			return "does not trust the next authority: copy ca.pem to it"
		}); err != nil {
			return err
		}
		if err := files.Switch(); err != nil {
			return err
		}
		return a.made(map[string]string{"authority": mark, "dir": dir}, "authority/"+mark, "%s signs with %s: give every coordinator a certificate of it, then rotate finish", dir, mark)
	})
}

func (a *app) rotateFinishCmd() *cobra.Command {
	return a.rotateStep(&cobra.Command{
		Use: "finish", Short: "Trust the new authority alone: ca.pem has it and no other",
		Long:    "Refused while a member still uses a certificate of the old authority. Copy ca.pem to every coordinator and client afterwards.",
		Example: "  raftctl ca rotate finish --dir tls --addr n1:7380 --ca tls/ca.pem",
	}, func(dir string, check func(func(wire.MemberCertificate) string) error) error {
		files := certfile.Authority{Dir: dir}
		ca, _, err := files.Load()
		if err != nil {
			return err
		}
		mark := authority.Fingerprint(ca.Certificate())
		if err := check(func(c wire.MemberCertificate) string {
			if c.Issuer == mark {
				return ""
			}
			return "uses a certificate of another authority: give it a new one"
		}); err != nil {
			return err
		}
		if err := files.Finish(); err != nil {
			return err
		}
		return a.made(map[string]string{"authority": mark, "dir": dir}, "authority/"+mark, "%s trusts %s alone: copy ca.pem to every coordinator and client", dir, mark)
	})
}

// caReport is what ca show prints.
type caReport struct {
	Authorities []authorityRow `json:"authorities,omitempty"`
	Members     []caMember     `json:"members"`
}

type caMember struct {
	ID string `json:"id"`
	*wire.MemberCertificate
}

func (a *app) caShowCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "show", Short: "Show whom each member trusts, and when its certificate ends", Args: cobra.NoArgs,
		Example: "  raftctl ca show\n  raftctl ca show --dir tls",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var report caReport
			if dir != "" {
				if report.Authorities, err = authoritiesIn(dir); err != nil {
					return err
				}
			}
			m, _, err := a.client.Members(cmd.Context(), client.Read{})
			if err != nil {
				return err
			}
			names := []string{}
			for _, row := range m.Members {
				report.Members = append(report.Members, caMember{row.ID, row.Certificate})
				names = append(names, "member/"+row.ID)
			}
			body, err := json.Marshal(report)
			if err != nil {
				return err
			}
			return a.show(a.out, answer{body: body, names: names, table: func(wide bool) *table { return a.caTable(report, wide) }, below: func(w io.Writer) { a.caBelow(w, report) }})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "show the authorities of this directory as well")
	return cmd
}

// shortMark is how an authority is called in a table: the first 12 digits of its SHA-256.
func shortMark(mark string, wide bool) string {
	if wide || len(mark) < 12 {
		return mark
	}
	return mark[:12]
}

func (a *app) caTable(r caReport, wide bool) *table {
	t := a.table("member", "expires", "signed by", "trusts")
	for _, m := range r.Members {
		if m.MemberCertificate == nil {
			t.row(m.ID, "-", "-", "-")
			continue
		}
		var trusts []string
		for _, mark := range m.Trusts {
			trusts = append(trusts, shortMark(mark, wide))
		}
		t.row(m.ID, m.Expires.Format(time.RFC3339), shortMark(m.Issuer, wide), strings.Join(trusts, " "))
	}
	return t
}

func (a *app) caBelow(w io.Writer, r caReport) {
	for _, row := range r.Authorities {
		signs := ""
		if row.Signs {
			signs = ", signs"
		}
		fmt.Fprintf(w, "authority %s of cluster %s, until %s%s\n", shortMark(row.SHA256, false), row.Cluster, row.Expires.Format(time.RFC3339), signs)
	}
}
