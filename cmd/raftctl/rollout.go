package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) rolloutCmd() *cobra.Command {
	return group("rollout", "Restart the coordinators one by one, and tell whether that may begin", a.rolloutGateCmd(), a.rolloutRunCmd())
}

// clusterState is the cluster as a rollout sees it.
type clusterState struct {
	members wire.Members
	health  wire.Autopilot
	status  wire.Status // of the coordinator that answered
}

func (a *app) readCluster(ctx context.Context) (s clusterState, err error) {
	if s.members, _, err = a.client.Members(ctx, client.Read{}); err != nil {
		return s, err
	}
	if s.health, _, err = a.client.Autopilot(ctx, client.Read{}); err != nil {
		return s, err
	}
	s.status, _, err = a.client.Status(ctx)
	return s, err
}

// member is the one of that id.
func (s *clusterState) member(id string) (wire.Member, bool) {
	i := slices.IndexFunc(s.members.Members, func(m wire.Member) bool { return m.ID == id })
	if i < 0 {
		return wire.Member{}, false
	}
	return s.members.Members[i], true
}

// blockers are the reasons why no coordinator may be restarted now, but for those of one
// that is to be restarted itself, ignore.
func (s *clusterState) blockers(ignore string) (reasons []string) {
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	leaders, newest := 0, uint64(0)
	for _, m := range s.members.Members {
		newest = max(newest, m.LastIndex)
		if m.State == "leader" {
			leaders++
		}
	}
	if leaders != 1 {
		say("%d members lead, want one", leaders)
	}
	reasons = append(reasons, s.changeBlockers(ignore)...)
	ignoredIsIll := false
	for _, h := range s.health.Servers {
		m, known := s.member(h.ID)
		switch {
		case !known: // see changeBlockers
		case !h.Healthy && h.ID == ignore:
			ignoredIsIll = true
		case !h.Healthy:
			say("%s %s", h.ID, h.Reason)
		case h.ID != ignore && m.AppliedIndex < newest && newest-m.AppliedIndex > s.health.MaxLag:
			say("%s has applied the log to %d of %d", h.ID, m.AppliedIndex, newest)
		case h.ID != ignore && m.Suffrage != "voter" && !m.NonVoter:
			say("%s has no vote yet: it gets it once it has been well for a while", h.ID)
		}
	}
	if least := 1; s.health.FailureTolerance < least && !ignoredIsIll || s.health.FailureTolerance < 0 {
		say("%d voters may fail, want at least %d", max(0, s.health.FailureTolerance), least)
	}
	for _, m := range s.members.Members {
		if m.Disk != nil && m.Disk.State != wire.DiskOK && m.ID != s.status.ID {
			say("the disk of %s is %s", m.ID, diskState(m.Disk))
		}
	}
	if d := s.status.Disk; d != nil && d.Low {
		say("the disk of %s is %s", s.status.ID, diskState(d))
	}
	if s.status.Warning != "" {
		say("%s warns: %s", s.status.ID, s.status.Warning)
	}
	return reasons
}

// changeBlockers tell of a change of the membership that has not come to its end, as far as
// the answers show it.
func (s *clusterState) changeBlockers(ignore string) (reasons []string) {
	listed, judged := map[string]bool{}, map[string]bool{}
	for _, h := range s.health.Servers {
		judged[h.ServerID] = true
	}
	for _, m := range s.members.Members {
		listed[m.ServerID] = true
		if m.ID != ignore && m.Healthy && m.AppliedIndex < s.members.ConfigIndex {
			reasons = append(reasons, m.ID+" has not applied the last change of the membership yet")
		}
	}
	if !maps.Equal(listed, judged) {
		reasons = append(reasons, "the membership was changed while it was looked at")
	}
	return reasons
}

func (a *app) rolloutGateCmd() *cobra.Command {
	var ignore string
	cmd := &cobra.Command{
		Use: "gate", Short: "Tell whether a coordinator may be restarted now; exit status 1 if not", Args: cobra.NoArgs,
		Long: "Every member must be well and have caught up, one leads, a voter may fail, none is still to get its vote, and the disks\n" +
			"of all have room. Else each reason is a line, and the exit status 1.\n\n" +
			"No change of the membership may be pending and no member may be taking a snapshot, as far as the members' answers show it:\n" +
			"each has applied the last change that is committed, and none is behind. What they do not show is for you to look at: a change\n" +
			"that is not committed yet; a snapshot that somebody saves (a restart of the coordinator that sends it breaks it off); and\n" +
			"whether snapshots are kept in --backup-dir (folkmoot_backup_last_success_timestamp_seconds in the leader's metrics says when\n" +
			"the last one was made).",
		Example: "  raftctl rollout gate && kubectl apply -k overlays/prod\n  raftctl rollout gate --ignore folkmoot-2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd)
			defer cancel()
			s, err := a.readCluster(ctx)
			if err != nil {
				return err
			}
			if _, ok := s.member(ignore); ignore != "" && !ok {
				return usage("--ignore %s: there is no such member", ignore)
			}
			if why := s.blockers(ignore); len(why) > 0 {
				return errors.New(strings.Join(why, "\n"))
			}
			_, err = fmt.Fprintln(a.out, "a coordinator may be restarted")
			return err
		},
	}
	cmd.Flags().StringVar(&ignore, "ignore", "", "`ID` of a member that need not be well: it is the one to be restarted")
	cmd.RegisterFlagCompletionFunc("ignore", a.completeMembers)
	return cmd
}

// rollout is one run over the coordinators.
type rollout struct {
	a       *app
	cmd     *cobra.Command
	restart string
	only    []string
	timeout time.Duration
	done    *rolloutRecord
}

func (a *app) rolloutRunCmd() *cobra.Command {
	r := &rollout{a: a}
	fromStart := false
	cmd := &cobra.Command{
		Use: "run --restart COMMAND", Short: "Restart the coordinators one by one, the leader last", Args: cobra.NoArgs,
		Long: "COMMAND is run by sh -c for one coordinator after the other, {id} in it being its id. Before each one the gate must be open;\n" +
			"after it, the coordinator must have begun anew and all be well. Both have --timeout (10m) together: a COMMAND that is not done by\n" +
			"then is ended, with all that it has begun; it cannot ask for anything at the terminal. The leader is last: leadership is handed\n" +
			"to one that is done, and the gate must be open again. The first that does not come back ends it, with exit status 1; the same\n" +
			"command again goes on where it was, for a day; where nothing is left of that run it is refused without --from-start.",
		Example: "  raftctl rollout run --restart 'kubectl delete pod {id}'\n" +
			"  raftctl rollout run --restart 'ssh {id} systemctl restart folkmoot' --timeout 10m",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if !strings.Contains(r.restart, "{id}") {
				return usage("--restart %q: it must name the coordinator by {id}", r.restart)
			}
			r.cmd, r.timeout = cmd, 10*time.Minute
			if cmd.Flags().Changed("timeout") {
				r.timeout = a.flags.timeout
			}
			return r.run(fromStart)
		},
	}
	cmd.Flags().StringVar(&r.restart, "restart", "", "`COMMAND` that restarts the coordinator {id}")
	cmd.Flags().StringSliceVar(&r.only, "only", nil, "`IDS` of those to restart; default: all")
	cmd.Flags().BoolVar(&fromStart, "from-start", false, "begin with the first again, though the last run did not come to its end")
	cmd.MarkFlagRequired("restart")
	cmd.RegisterFlagCompletionFunc("only", a.completeMembers)
	return cmd
}

// plainID is what may stand in a line of the shell as it is.
var plainID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (r *rollout) run(fromStart bool) error {
	s, err := r.readCluster(r.cmd.Context())
	if err != nil {
		return err
	}
	for _, id := range r.only {
		if _, ok := s.member(id); !ok {
			return usage("--only %s: there is no such member", id)
		}
	}
	for _, m := range s.members.Members {
		switch {
		case m.Boot == 0 && m.Alive:
			return fmt.Errorf("%s does not tell how often %s was started: it runs an older version; restart the coordinators by hand this time", s.status.ID, m.ID)
		case !plainID.MatchString(m.ID):
			return fmt.Errorf("the id %q cannot be put into a line of the shell", m.ID)
		}
	}
	isNew := false
	if r.done, isNew, err = openRollout(s.members.Members, s.status.ClusterID, r.restart, fromStart, time.Now()); err != nil {
		return err
	}
	if !isNew {
		if err := r.goOn(&s); err != nil {
			return err
		}
	}
	for {
		next, ok := r.next(&s)
		if !ok {
			fmt.Fprintln(r.a.out, "all are done")
			return r.done.remove()
		}
		if next, err = r.awaitGate(&s, next); err != nil {
			return err
		}
		if next.State == "leader" {
			if err := r.handOver(&s, next); err != nil {
				return err
			}
		}
		if err := r.restartOne(next); err != nil {
			return err
		}
		if s, err = r.readCluster(r.cmd.Context()); err != nil {
			return err
		}
	}
}

// gatePatience is how long a gate that is shut is looked at again, and gatePause how often. What
// a coordinator tells of the others it has heard up to a second ago, and right after its own
// start it has heard nothing.
const (
	gatePatience = 10 * time.Second
	gatePause    = 300 * time.Millisecond
)

// awaitGate waits until a coordinator may be restarted, and returns it as it is then.
func (r *rollout) awaitGate(s *clusterState, next wire.Member) (wire.Member, error) {
	end := time.Now().Add(min(r.timeout, gatePatience))
	for {
		why := s.blockers(next.ID)
		if len(why) == 0 {
			return next, nil
		}
		if time.Now().After(end) {
			return next, fmt.Errorf("%s is not restarted:\n%s", next.ID, strings.Join(why, "\n"))
		}
		select {
		case <-time.After(gatePause):
		case <-r.cmd.Context().Done():
			return next, r.cmd.Context().Err()
		}
		now, err := r.readCluster(r.cmd.Context())
		if err != nil {
			return next, err
		}
		*s = now
		if m, ok := s.member(next.ID); ok {
			next = m
		}
	}
}

// goOn tells what a rollout that was begun before has done already. One that has nothing
// left to do is refused: whoever types the command wants the coordinators restarted.
func (r *rollout) goOn(s *clusterState) error {
	begun, done := r.done.Begun.Format(time.RFC3339), "none"
	var ids []string
	for _, m := range s.members.Members {
		if r.done.begunAnew(m) {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) > 0 {
		done = strings.Join(ids, ", ")
	}
	if _, left := r.next(s); !left {
		return fmt.Errorf("all were started anew since a rollout by this command was begun at %s (%s), and there is nothing to go on with; "+
			"to restart them again, begin with --from-start", begun, r.done.file)
	}
	fmt.Fprintf(r.a.out, "goes on with the rollout begun at %s; done already: %s\n", begun, done)
	return nil
}

func (r *rollout) readCluster(ctx context.Context) (clusterState, error) {
	ctx, cancel := context.WithTimeout(ctx, min(r.timeout, 30*time.Second))
	defer cancel()
	return r.a.readCluster(ctx)
}

// next is who is to be restarted now: one that is ill, those without a vote, other
// followers, then the leader.
func (r *rollout) next(s *clusterState) (next wire.Member, found bool) {
	rank := func(m wire.Member) int {
		switch {
		case !m.Healthy:
			return -1
		case m.State == "leader":
			return 2
		case m.Suffrage == "voter":
			return 1
		}
		return 0
	}
	for _, m := range s.members.Members {
		if len(r.only) > 0 && !slices.Contains(r.only, m.ID) || r.done.begunAnew(m) && m.Healthy {
			continue
		}
		if !found || rank(m) < rank(next) {
			next, found = m, true
		}
	}
	return next, found
}

// handOver gives leadership to a voter that is done, or to any other if none is, and waits
// until the gate is open for the one that led.
func (r *rollout) handOver(s *clusterState, leader wire.Member) error {
	to := ""
	for _, m := range s.members.Members {
		if m.ID != leader.ID && m.Suffrage == "voter" && m.Healthy && (to == "" || r.done.begunAnew(m)) {
			to = m.ID
		}
	}
	if err := r.transfer(leader.ID, to); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.cmd.Context(), r.timeout)
	defer cancel()
	return r.a.await(ctx, func(ctx context.Context) (bool, string, error) {
		s, err := r.readCluster(ctx)
		if err != nil {
			return false, "", err
		}
		if m, _ := s.member(leader.ID); m.State == "leader" {
			return false, "it leads", nil
		}
		why := s.blockers(leader.ID)
		return len(why) == 0, strings.Join(why, "; "), nil
	}, "an open gate for "+leader.ID, r.timeout)
}

// transfer hands leadership from one coordinator to another; to is "" for whichever.
func (r *rollout) transfer(from, to string) error {
	ctx, cancel := context.WithTimeout(r.cmd.Context(), min(r.timeout, time.Minute))
	defer cancel()
	l, _, err := r.a.client.TransferLeadership(ctx, to)
	whom := cmp.Or(to, "another")
	switch code := wire.CodeOf(err); {
	case err == nil:
		fmt.Fprintf(r.a.out, "%s leads, in term %d\n", l.ID, l.Term)
		return nil
	case code == wire.CodeUnknown || code == wire.CodeInternal:
		return fmt.Errorf("it is unknown whether leadership of %s was handed to %s, so %s is not restarted: %w", from, whom, from, err)
	}
	return fmt.Errorf("leadership of %s was not handed to %s, so it is not restarted: %w", from, whom, err)
}

// restartOne runs the command for one coordinator and waits until that has begun anew and
// all are well, both within the timeout.
func (r *rollout) restartOne(m wire.Member) error {
	ctx, cancel := context.WithTimeout(r.cmd.Context(), r.timeout)
	defer cancel()
	if !r.done.begunAnew(m) { // else it was restarted, and is still on its way
		fmt.Fprintf(r.a.out, "%s is restarted\n", m.ID)
		if err := r.runCommand(ctx, m.ID); err != nil {
			return err
		}
	}
	return r.a.await(ctx, func(ctx context.Context) (bool, string, error) {
		s, err := r.readCluster(ctx)
		if err != nil {
			return false, "", err
		}
		now, ok := s.member(m.ID)
		switch {
		case !ok:
			return false, "it is no member", nil
		case !r.done.begunAnew(now):
			return false, "it was not started anew", nil
		}
		why := s.blockers("")
		return len(why) == 0, strings.Join(why, "; "), nil
	}, m.ID+" is back and all are well", r.timeout)
}
