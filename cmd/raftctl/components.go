package main

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) componentsCmd() *cobra.Command {
	return group("components", "Programs that are signed in", a.componentsListCmd(), a.componentsGetCmd(), a.componentsRemoveCmd())
}

func (a *app) componentsListCmd() *cobra.Command {
	r := readFlags{wantWatch: true}
	var sel client.Components
	var pairs []string
	cmd := r.define(&cobra.Command{
		Use: "list", Short: "List components by full name", Aliases: []string{"ls"}, Args: cobra.NoArgs,
		Example: "  raftctl components list\n  raftctl components list --namespace n1 --label role=camera --watch",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if sel.Labels, err = keyValues("--label", pairs); err != nil {
				return err
			}
			return a.list(cmd.Context(), r, 0, func(ctx context.Context, read client.Read) (answer, client.Meta, error) {
				rows, meta, err := a.allComponents(ctx, sel, read)
				v := answer{body: meta.Body, table: func(wide bool) *table { return a.componentsTable(rows, wide) }}
				for _, c := range rows {
					v.names = append(v.names, "component/"+c.FullName)
				}
				return v, meta, err
			})
		},
	})
	f := cmd.Flags()
	f.StringVar(&sel.Namespace, "namespace", "", "only of this namespace")
	f.StringVar(&sel.Prefix, "prefix", "", "only full names that begin so")
	f.StringVar(&sel.Match, "match", "", "only full names that this regular expression matches as a whole")
	f.StringArrayVar(&pairs, "label", nil, "only with this label, k=v; may be repeated")
	f.IntVar(&sel.Limit, "limit", 0, "at most so many; 0 is all")
	f.StringVar(&sel.After, "after", "", "only after this full name")
	return cmd
}

// allComponents follows the pages, unless one page was asked for. Several pages are one body.
func (a *app) allComponents(ctx context.Context, sel client.Components, read client.Read) ([]wire.Component, client.Meta, error) {
	sel.Read = read
	page, meta, err := a.client.Components(ctx, sel)
	if err != nil || page.Next == "" || sel.Limit > 0 {
		return page.Components, meta, err
	}
	all := page.Components
	for page.Next != "" {
		sel.After, sel.Read = page.Next, client.Read{Consistency: read.Consistency}
		if page, _, err = a.client.Components(ctx, sel); err != nil {
			return nil, meta, err
		}
		all = append(all, page.Components...)
	}
	meta.Body, err = json.Marshal(wire.Components{Components: all})
	return all, meta, err
}

func (a *app) componentsTable(rows []wire.Component, wide bool) *table {
	heads := []string{"name", "home", "kind", "lease", "age", "labels"}
	if wide {
		heads = append(heads, "host", "group", "runtimes", "slots", "index", "session")
	}
	t := a.table(heads...).numbers("age", "lease", "slots", "index")
	for _, c := range rows {
		cells := []any{c.FullName, c.Home, c.Kind, time.Duration(c.Lease), a.age(c.Since), labels(c.Labels, wide)}
		if wide {
			cells = append(cells, c.Place.Host, c.Place.Group, strings.Join(c.Runtimes, ","), c.Slots, c.Index, c.Session)
		}
		t.row(cells...)
	}
	return t
}

func (a *app) componentsGetCmd() *cobra.Command {
	var r readFlags
	return r.define(&cobra.Command{
		Use: "get NAME", Short: "Show one component", Args: cobra.ExactArgs(1), Example: "  raftctl components get n1.laser -o yaml",
		ValidArgsFunction: a.completeComponents,
		RunE: func(cmd *cobra.Command, args []string) error {
			full, err := a.fullName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			c, meta, err := a.client.Component(cmd.Context(), full, r.read())
			if err != nil {
				return a.explainBehind(cmd.Context(), r, err)
			}
			return a.show(a.out, answer{
				body: meta.Body, names: []string{"component/" + c.FullName},
				table: func(wide bool) *table { return a.componentsTable([]wire.Component{c}, wide) },
			})
		},
	})
}

func (a *app) componentsRemoveCmd() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "End a component's session for good", Aliases: []string{"rm"}, Args: cobra.ExactArgs(1),
		Long:              "Ends a component's session. It is told why and cannot take its name over again; the name is free at once.",
		Example:           "  raftctl components remove n1.laser --reason 'replaced' --yes",
		ValidArgsFunction: a.completeComponents,
		RunE: func(cmd *cobra.Command, args []string) error {
			full, err := a.fullName(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm("remove component " + full); err != nil {
				return err
			}
			meta, err := a.client.RemoveComponent(cmd.Context(), full, reason)
			if err != nil {
				return err
			}
			return a.done(meta.Body, "component/"+full, "component %s removed", full)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "told to the component and shown to others")
	return cmd
}

// fullName is the full name of a component that was given by it or by its last part alone, which then only one component
// may have, in whatever namespace.
func (a *app) fullName(ctx context.Context, name string) (string, error) {
	if strings.Contains(name, ".") || name == wire.Coordinator {
		return name, nil
	}
	found, _, err := a.client.Components(ctx, client.Components{Match: `.*\.` + regexp.QuoteMeta(name), Page: client.Page{Limit: 10}})
	if err != nil {
		return "", err
	}
	var names []string
	for _, c := range found.Components {
		if _, last, _ := strings.Cut(c.FullName, "."); last == name {
			names = append(names, c.FullName)
		}
	}
	switch len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", wire.Refuse(wire.CodeNotFound, "nobody is signed in as %s, in any namespace", name)
	}
	return "", usage("%s is the name of several: %s", name, strings.Join(names, ", "))
}

// keyValues reads k=v pairs.
func keyValues(flag string, pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usage("%s %q: want KEY=VALUE", flag, p)
		}
		if _, changed := m[k]; changed {
			return nil, usage("%s %q: %s is told twice", flag, p, k)
		}
		m[k] = v
	}
	return m, nil
}
