package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/certfile"
	"github.com/folkmoot/folkmoot/certfile/authority"
)

func (a *app) caCmd() *cobra.Command {
	return group("ca", "The cluster's own certificate authority", a.caInitCmd(), a.caIssueCmd(), a.caRequestCmd(), a.caRotateCmd(), a.caShowCmd())
}

// offline is for commands that ask nobody.
func (a *app) offline(cmd *cobra.Command, _ []string) error {
	if err := checkFlags(cmd); err != nil {
		return err
	}
	if err := a.checkOutput(); err != nil {
		return err
	}
	a.started = true
	return nil
}

// made tells what a command has made.
func (a *app) made(what any, name, format string, args ...any) error {
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return a.done(body, name, format, args...)
}

func (a *app) caInitCmd() *cobra.Command {
	var cluster, dir string
	cmd := &cobra.Command{
		Use: "init", Short: "Make an authority: ca.pem, which everybody gets, and ca-key.pem, which signs", Args: cobra.NoArgs,
		Long: "Makes ca.pem and ca-key.pem, valid for 10 years. Nothing is overwritten. Whoever holds ca-key.pem can become a member of the\n" +
			"cluster: coordinators that have it in their --tls-dir make their own certificates; where that are too many, keep it on one\n" +
			"or none, and give the others certificates by ca issue.",
		Example:           "  raftctl ca init --cluster lab --dir tls",
		PersistentPreRunE: a.offline,
		RunE: func(*cobra.Command, []string) error {
			ca, err := certfile.Authority{Dir: dir}.Init(cluster)
			if err != nil {
				return err
			}
			mark := authority.Fingerprint(ca.Certificate())
			return a.made(map[string]string{"cluster": cluster, "authority": mark, "dir": dir}, "authority/"+mark,
				"%s has the authority of cluster %s, %s; keep ca-key.pem secret", dir, cluster, mark)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of the cluster, in every certificate")
	cmd.Flags().StringVar(&dir, "dir", "", "directory to make it in")
	_ = cmd.MarkFlagRequired("cluster")
	_ = cmd.MarkFlagRequired("dir")
	return cmd
}

// leafFlags say whose certificate is wanted.
type leafFlags struct {
	id, out string
	hosts   []string
}

func (l *leafFlags) define(cmd *cobra.Command, out string) {
	cmd.Flags().StringVar(&l.id, "id", "", "whose: the --id of the coordinator")
	cmd.Flags().StringVar(&l.out, "out", "", out)
	cmd.Flags().StringSliceVar(&l.hosts, "hosts", nil, "names and addresses under which it is called, beside localhost")
	_ = cmd.MarkFlagRequired("id")
	_ = cmd.MarkFlagRequired("out")
}

// names checks the flags and sorts the hosts.
func (l *leafFlags) names() (authority.Hosts, error) {
	if !authority.IsMemberID(l.id) {
		return authority.Hosts{}, usage("--id %q: %s", l.id, authority.MemberIDRule)
	}
	hosts, err := authority.MemberHosts(l.hosts)
	if err != nil {
		return hosts, usage("--hosts: %v", err)
	}
	return hosts, nil
}

// issued is what a command says of a certificate that it has written.
type issued struct {
	Name    string    `json:"name"`
	Dir     string    `json:"dir"`
	Expires time.Time `json:"expires"`
}

func (a *app) issued(dir string) error {
	text, err := os.ReadFile(certfile.In(dir).Cert)
	if err != nil {
		return err
	}
	all, err := authority.Certificates(text)
	if err != nil {
		return err
	}
	name, err := authority.NameOf(all[0])
	if err != nil {
		return err
	}
	end := all[0].NotAfter.UTC()
	return a.made(issued{name.String(), dir, end}, "certificate/"+name.ID, "%s has the certificate of %s, until %s", dir, name, end.Format(time.RFC3339))
}

func (a *app) caIssueCmd() *cobra.Command {
	var l leafFlags
	var dir, role string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use: "issue", Short: "Sign a certificate for a coordinator or a client", Args: cobra.NoArgs,
		Example:           "  raftctl ca issue --dir tls --id n2 --out tls-n2 --hosts host2,192.0.2.2\n  raftctl ca issue --dir tls --id ops --role client --out tls-ops",
		PersistentPreRunE: a.offline,
		RunE: func(*cobra.Command, []string) error {
			hosts, err := l.names()
			switch {
			case err != nil:
				return err
			case role != authority.RoleMember && role != authority.RoleClient:
				return usage("--role %q: member or client", role)
			case ttl < time.Minute || ttl > certfile.AuthorityLife:
				return usage("--ttl %s: from 1m to %s", ttl, certfile.AuthorityLife)
			}
			ca, trust, err := certfile.Authority{Dir: dir}.Load()
			if err != nil {
				return err
			}
			if role == authority.RoleClient {
				hosts = authority.Hosts{}
			}
			if err := os.MkdirAll(l.out, 0o700); err != nil {
				return err
			}
			if err := certfile.In(l.out).Issue(ca, authority.Leaf{Role: role, ID: l.id, Hosts: hosts, Life: ttl}, trust); err != nil {
				return err
			}
			return a.issued(l.out)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the authority")
	l.define(cmd, "directory for ca.pem, cert.pem and key.pem; those that are there are replaced")
	cmd.Flags().StringVar(&role, "role", authority.RoleMember, "member (a coordinator), or client (for --http-client-ca)")
	cmd.Flags().DurationVar(&ttl, "ttl", certfile.LeafLife, "how long it is valid")
	_ = cmd.MarkFlagRequired("dir")
	return cmd
}

// authorityRow is an authority in ca.pem.
type authorityRow struct {
	SHA256  string    `json:"sha256"`
	Cluster string    `json:"cluster"`
	Expires time.Time `json:"expires"`
	Signs   bool      `json:"signs"`
}

// authoritiesIn lists those in a directory.
func authoritiesIn(dir string) (rows []authorityRow, err error) {
	text, err := os.ReadFile(filepath.Join(dir, certfile.CAFile))
	if err != nil {
		return nil, err
	}
	all, err := authority.Certificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, certfile.CAFile), err)
	}
	signer := ""
	if ca, _, err := (certfile.Authority{Dir: dir}).Load(); err == nil {
		signer = authority.Fingerprint(ca.Certificate())
	}
	for _, c := range all {
		row := authorityRow{SHA256: authority.Fingerprint(c), Expires: c.NotAfter.UTC()}
		if len(c.URIs) == 1 {
			row.Cluster = c.URIs[0].Host
		}
		row.Signs = row.SHA256 == signer
		rows = append(rows, row)
	}
	return rows, nil
}
