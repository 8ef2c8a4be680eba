package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

// Limits and defaults of what is proposed. They are this binary's own and may
// change with the next one: whoever proposes a job asks Check or Validate first,
// and what is in the log is carried out whatever they are. Sizes are in bytes.
const (
	MaxInput        = 192 << 10 // script, args and items together
	MaxSpec         = 240 << 10 // the whole spec as JSON, so that its command fits into the log
	MaxID           = 128
	MaxAttempts     = 100
	MaxPartTimeout  = 24 * time.Hour
	MaxTime         = 30 * 24 * time.Hour // of a job's timeout and keep
	DefaultPriority = 50
	DefaultAttempts = 3
	DefaultTimeout  = time.Minute // of a part
	DefaultKeep     = 24 * time.Hour
	DefaultLosses   = 3 // travels in the job as its MaxLosses
)

var runtimes = []string{"python3", "sh"}

// Runtimes returns the names of the runtimes a job may ask for.
func Runtimes() []string { return slices.Clone(runtimes) }

// byteOrderMark is what some editors begin a file with; no interpreter knows it.
const byteOrderMark = "\uFEFF"

// Check turns a request into a spec with its defaults, or says which field is
// wrong. It does not keep the request's slices.
func Check(in wire.SubmitJob) (Spec, error) {
	for _, f := range []struct {
		name  string
		value json.RawMessage
	}{{"split", in.Split}, {"reduce", in.Reduce}, {"after", in.After}} {
		if len(f.value) > 0 && string(f.value) != "null" {
			return Spec{}, wire.Invalid(f.name, "%s is not offered by this version", f.name)
		}
	}
	if in.ID != "" {
		if err := CheckID(in.ID); err != nil {
			return Spec{}, err
		}
	}
	s := Spec{
		Name: in.Name, Runtime: in.Runtime, Script: strings.TrimPrefix(in.Script, byteOrderMark), Priority: DefaultPriority, Group: in.Group,
		Parallel: in.Parallel, MaxAttempts: in.MaxAttempts, Timeout: in.Timeout, PartTimeout: in.PartTimeout, Keep: in.Keep,
		MaxLosses: DefaultLosses,
	}
	if in.Namespace != DefaultNamespace {
		s.Namespace = in.Namespace
	}
	if in.Priority != nil {
		s.Priority = *in.Priority
	}
	if err := checkInterpreter(s.Runtime, s.Script); err != nil {
		return Spec{}, err
	}
	if s.MaxAttempts == 0 {
		s.MaxAttempts = DefaultAttempts
	}
	if s.PartTimeout == 0 {
		s.PartTimeout = wire.Duration(DefaultTimeout)
	}
	if s.Keep == 0 {
		s.Keep = wire.Duration(DefaultKeep)
	}
	if in.Range != nil {
		s.Range = *in.Range
		if s.Range.Chunk == 0 {
			s.Range.Chunk = 1
		}
		if len(in.Items) > 0 {
			return Spec{}, wire.Invalid("items", "a job has items or a range, not both")
		}
	}
	var err error
	if s.Args, err = compact("args", in.Args); err != nil {
		return Spec{}, err
	}
	if len(in.Items) > wire.MaxParts {
		return Spec{}, wire.Invalid("items", "%d items are too many: a job has at most %d parts", len(in.Items), wire.MaxParts)
	}
	for i, item := range in.Items {
		if item, err = compact(fmt.Sprintf("items[%d]", i), item); err != nil {
			return Spec{}, err
		}
		if item == nil {
			item = json.RawMessage("null")
		}
		s.Items = append(s.Items, item)
	}
	if len(in.Labels) > 0 {
		s.Labels = make(map[string]string, len(in.Labels))
		for k, v := range sorted(in.Labels) {
			s.Labels[k] = v
		}
	}
	return s, s.Validate()
}

// checkInterpreter refuses a python3 script whose first line asks for something
// else: its function is called by a program of ours. That line of an sh script is
// followed by the worker.
func checkInterpreter(runtime, script string) error {
	line, _, _ := strings.Cut(script, "\n")
	asks, ok := strings.CutPrefix(line, "#!")
	if !ok || runtime != "python3" || strings.Contains(asks, "python") {
		return nil
	}
	return wire.Invalid("script", "the script's first line asks for %.80q, and runtime python3 runs it by Python: take runtime sh, which follows "+
		"that line, or leave it out", strings.TrimSpace(asks))
}

// CheckNamespace says why a name is none of a namespace of jobs; "" is one that
// was not given. Errors: invalid.
func CheckNamespace(name string) error {
	if strings.ContainsAny(name, ".@*?") || name != strings.TrimSpace(name) {
		return wire.Invalid("namespace", "namespace %.80q is none: it has no '.', '@', '*' or '?' in it, and no blank at either end", name)
	}
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c > 0x7E || len(name) > wire.MaxName {
			return wire.Invalid("namespace", "namespace %.80q is longer than %d bytes or not printable ASCII", name, wire.MaxName)
		}
	}
	return nil
}

// Validate says which field of a spec is wrong.
func (s Spec) Validate() error {
	switch {
	case !slices.Contains(runtimes, s.Runtime):
		return wire.Invalid("runtime", "runtime %q is not known; offered are %s", s.Runtime, strings.Join(runtimes, ", "))
	case strings.TrimSpace(s.Script) == "":
		return wire.Invalid("script", "the script is empty")
	case !utf8.ValidString(s.Script) || strings.ContainsRune(s.Script, 0):
		return wire.Invalid("script", "the script is not text: it must be UTF-8 without NUL")
	case s.Priority < 0 || s.Priority > 100:
		return wire.Invalid("priority", "priority %d is not within 0 and 100", s.Priority)
	case s.Parallel < 0 || s.Parallel > wire.MaxParts:
		return wire.Invalid("parallel", "parallel %d is not within 0 (no limit) and %d", s.Parallel, wire.MaxParts)
	case s.MaxAttempts < 1 || s.MaxAttempts > MaxAttempts:
		return wire.Invalid("max_attempts", "max_attempts %d is not within 1 and %d", s.MaxAttempts, MaxAttempts)
	case s.MaxLosses < 0:
		return wire.Invalid("max_losses", "max_losses %d is below 0", s.MaxLosses)
	case s.Timeout < 0 || time.Duration(s.Timeout) > MaxTime:
		return wire.Invalid("timeout", "timeout %v is not within 0 (none) and %v", time.Duration(s.Timeout), MaxTime)
	case s.PartTimeout <= 0 || time.Duration(s.PartTimeout) > MaxPartTimeout:
		return wire.Invalid("part_timeout", "part_timeout %v is not above 0 and at most %v", time.Duration(s.PartTimeout), MaxPartTimeout)
	case s.Keep <= 0 || time.Duration(s.Keep) > MaxTime:
		return wire.Invalid("keep", "keep %v is not above 0 and at most %v", time.Duration(s.Keep), MaxTime)
	}
	for _, f := range [][2]string{{"name", s.Name}, {"group", s.Group}} {
		if len(f[1]) > wire.MaxName || !utf8.ValidString(f[1]) {
			return wire.Invalid(f[0], "the %s is longer than %d bytes or not UTF-8", f[0], wire.MaxName)
		}
	}
	if err := CheckNamespace(s.Namespace); err != nil {
		return err
	}
	if len(s.Labels) > wire.MaxLabels {
		return wire.Invalid("labels", "%d labels are too many: at most %d", len(s.Labels), wire.MaxLabels)
	}
	for k, v := range sorted(s.Labels) {
		if k == "" || len(k)+len(v) > wire.MaxLabelSize || !utf8.ValidString(k+v) {
			return wire.Invalid("labels", "label %.40q is empty, longer than %d bytes or not UTF-8", k, wire.MaxLabelSize)
		}
	}
	if err := s.validateParts(); err != nil {
		return err
	}
	return s.validateSize()
}

func (s Spec) validateParts() error {
	if len(s.Items) > 0 {
		if s.Range != (wire.Range{}) {
			return wire.Invalid("items", "a job has items or a range, not both")
		}
		if len(s.Items) > wire.MaxParts {
			return wire.Invalid("items", "%d items are too many: a job has at most %d parts", len(s.Items), wire.MaxParts)
		}
		return nil
	}
	if s.Range == (wire.Range{}) {
		return wire.Invalid("items", "a job needs items or a range")
	}
	r := s.Range
	switch {
	case r.Chunk < 1:
		return wire.Invalid("range", "chunk %d is not positive", r.Chunk)
	case r.From >= r.To:
		return wire.Invalid("range", "the range from %d to %d is empty", r.From, r.To)
	case chunks(r) > wire.MaxParts:
		return wire.Invalid("range", "the range makes more than %d parts: take a larger chunk", wire.MaxParts)
	}
	return nil
}

func (s Spec) validateSize() error {
	size := len(s.Script) + len(s.Args)
	for _, item := range s.Items {
		size += len(item)
	}
	if size > MaxInput {
		return wire.Refuse(wire.CodeTooLarge, "script, args and items are %d bytes together; the limit is %d: let the items name what the workers fetch themselves, or make several jobs of it", size, MaxInput)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return wire.Invalid("items", "items or args are not JSON: %v", err)
	}
	if len(b) > MaxSpec {
		return wire.Refuse(wire.CodeTooLarge, "the job is %d bytes as JSON; the limit is %d: let the items name what the workers fetch themselves, or make several jobs of it", len(b), MaxSpec)
	}
	return nil
}

// Validate says which field of a new job no door of this binary lets through.
// The error is a *wire.Error of code invalid or too_large.
func (c Submit) Validate() error {
	if err := CheckID(c.ID); err != nil {
		return err
	}
	if c.ResultQuota < 0 {
		return wire.Invalid("result_quota", "result_quota %d is below 0", c.ResultQuota)
	}
	return c.Spec.Validate()
}

// CheckID says what is wrong with a job's id: it is 1 to 128 letters, digits
// and the characters -_.:~ .
func CheckID(id string) error {
	ok := len(id) >= 1 && len(id) <= MaxID && id != "." && id != ".."
	for _, c := range []byte(id) {
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.:~", c) >= 0)
	}
	if !ok {
		return wire.Invalid("id", "the id %.140q is not 1 to %d letters, digits and -_.:~", id, MaxID)
	}
	return nil
}

func compact(field string, raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, wire.Invalid(field, "%s is not JSON: %v", field, err)
	}
	if d := strictjson.Depth(raw); d > wire.MaxDepth {
		return nil, wire.Invalid(field, "%s is nested %d deep; the limit is %d", field, d, wire.MaxDepth)
	}
	return b.Bytes(), nil
}
