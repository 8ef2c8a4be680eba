package control_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/folkmoot/folkmoot/control"
	"github.com/folkmoot/folkmoot/wire"
)

// Settings that are written are answered as such, also where neither the state nor the members can be read behind that.
func TestSetAutopilotAnswersWhatIsDone(t *testing.T) {
	runCluster(t, func(t *testing.T, w *testCluster) {
		w.newestLevel()
		n1 := w.nodes["n1"]
		who := present(control.Credentials{Remote: "10.0.0.7:1"})
		for voters, trouble := range map[int]func(error){
			5: func(err error) { w.failNextProposals(nil); w.failProposals(err) }, // the write goes through, what is read behind it does not
			7: func(err error) { w.membersErr = err },
		} {
			trouble(errors.New("no leader"))
			out, index, err := n1.SetAutopilot(t.Context(), who, wire.AutopilotSettings{MinVoters: new(voters)})
			trouble(nil)
			noError(t, err)
			if set := n1.State().Autopilot.MinVoters; set == nil || *set != voters {
				t.Fatalf("%d was not written", voters)
			}
			if out.MinVoters != voters || out.DeadAfter != wire.Duration(time.Hour) || out.Healthy || out.FailureTolerance != -1 || len(out.Servers) != 0 || index == 0 {
				t.Errorf("the answer is %+v of index %d", out, index)
			}
		}
		out, _, err := n1.SetAutopilot(t.Context(), who, wire.AutopilotSettings{MaxLag: new(uint64(1_000_000_000))})
		if noError(t, err); out.MaxLag != 1_000_000_000 || len(out.Servers) != 2 {
			t.Errorf("the answer is %+v", out)
		}
		for _, lag := range []uint64{0, 1_000_000_001, math.MaxUint64} {
			_, _, err := n1.SetAutopilot(t.Context(), who, wire.AutopilotSettings{MaxLag: new(lag)})
			refused(t, err, wire.CodeInvalid, "1 to 1000000000 entries")
		}
	}, "n1")
}
