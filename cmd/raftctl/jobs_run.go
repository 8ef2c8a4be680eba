package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/wire"
)

// runFlags are a job on the command line.
type runFlags struct {
	runtime, items, itemsFile, shortDuration, id, name, group, namespace string
	args, labels                                                         []string
	priority, parallel, attempts                                         int
	timeout, partTimeout, keep                                           time.Duration
	follow                                                               bool
}

func (a *app) jobsRunCmd() *cobra.Command {
	var r runFlags
	cmd := &cobra.Command{
		Use: "run SCRIPT", Short: "Hand in a script and what to run it over", Args: cobra.ExactArgs(1),
		Long: "Runs SCRIPT (a file, - is standard input) once for every item. python3 scripts define part(item) or part(item, args);\n" +
			"sh scripts read the item from stdin, $ITEM_FILE or $ITEM (up to 64 KiB) and write the result to stdout. What else a part\n" +
			"gets and may use is in docs/jobs.md.\n\n" +
			"An item or value that reads as JSON is JSON, anything else is text: --items 1,b is a number and a text, and so is\n" +
			"--items '{\"a\": 1},\"b,c\"' an object and a text. With --follow it prints the results and exits 1 if the job did not end\n" +
			"as done.",
		Example: "  raftctl jobs run square.py --items 1,2,3 --follow\n" +
			"  raftctl jobs run fetch.sh --items-file urls.txt --parallel 4 --follow\n" +
			"  raftctl jobs run sum.py --range 0:1000:50 --args base=10",
		Annotations: map[string]string{fileArgs: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			script, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			job, err := r.job(a, args[0], string(script), cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return a.submit(cmd.Context(), job, r.follow)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.runtime, "runtime", "", "python3 or sh (default: by the script's extension)")
	f.StringVar(&r.items, "items", "", "items, separated by commas; each is JSON or text")
	f.StringVar(&r.itemsFile, "items-file", "", "file with one item a line, or one JSON array")
	f.StringVar(&r.shortDuration, "range", "", "FROM:TO[:CHUNK] instead of items: a part for every CHUNK numbers (default of CHUNK: 1)")
	f.StringArrayVar(&r.args, "args", nil, "KEY=VALUE, or one JSON object; the script's args; may be repeated (default: null)")
	f.StringVar(&r.id, "id", "", "id of the job: the same id twice is the same job (default: a new one)")
	f.StringVar(&r.name, "name", "", "name of the job (default: the script's)")
	f.StringVar(&r.group, "group", "", "jobs of one group run one at a time (default: no group)")
	f.StringArrayVar(&r.labels, "label", nil, "KEY=VALUE that a worker must carry; may be repeated (default: any worker)")
	f.IntVar(&r.priority, "priority", 50, "0 to 100, higher is first")
	f.IntVar(&r.parallel, "parallel", 0, "at most so many parts at once (default: no limit)")
	f.IntVar(&r.attempts, "max-attempts", 3, "tries of a part before the job fails, at least 1")
	f.DurationVar(&r.timeout, "job-timeout", 0, "end of the whole job (default: none)")
	f.DurationVar(&r.partTimeout, "part-timeout", time.Minute, "end of one try of a part")
	f.DurationVar(&r.keep, "keep", 24*time.Hour, "how long to keep the job after its end")
	f.StringVar(&r.namespace, "namespace", "", "who may see the job, change it and work for it (default: default)")
	f.BoolVarP(&r.follow, "follow", "f", false, "wait for the end and print the results")
	cmd.RegisterFlagCompletionFunc("runtime", cobra.FixedCompletions([]string{"python3", "sh"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (r runFlags) job(a *app, file, script string, changed func(flag string) bool) (wire.SubmitJob, error) {
	job := wire.SubmitJob{
		ID: r.id, Name: r.name, Runtime: r.runtime, Script: script, Group: r.group, Parallel: r.parallel, Timeout: wire.Duration(r.timeout),
		Namespace: r.namespace,
	}
	if err := r.limits(&job, changed); err != nil {
		return job, err
	}
	if job.Name == "" && file != "-" {
		job.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		if !utf8.ValidString(job.Name) {
			return job, usage("--name is needed: the script's name is not UTF-8")
		}
	}
	if job.Runtime == "" {
		job.Runtime = map[string]string{".py": "python3", ".sh": "sh"}[filepath.Ext(file)]
		if job.Runtime == "" {
			return job, usage("--runtime is needed: %s has neither .py nor .sh at its end", file)
		}
	}
	var err error
	if job.Labels, err = keyValues("--label", r.labels); err != nil {
		return job, err
	}
	if job.Args, err = scriptArgs(r.args); err != nil {
		return job, err
	}
	given := 0
	for _, s := range []string{r.items, r.itemsFile, r.shortDuration} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return job, usage("want one of --items, --items-file and --range")
	}
	switch {
	case r.shortDuration != "":
		job.Range, err = parseRange(r.shortDuration)
	case r.itemsFile != "":
		var text []byte
		if text, err = a.readFile(r.itemsFile); err != nil {
			return job, usage("--items-file: %v", err)
		}
		job.Items, err = itemLines(text)
	default:
		job.Items, err = itemList(r.items)
	}
	return job, err
}

// limits sets what has a default at the coordinator, if it was told; 0 is not the default there, but refused.
func (r runFlags) limits(job *wire.SubmitJob, changed func(flag string) bool) error {
	if changed("priority") {
		job.Priority = &r.priority
	}
	if changed("max-attempts") {
		if job.MaxAttempts = r.attempts; r.attempts < 1 {
			return usage("--max-attempts %d: want at least 1", r.attempts)
		}
	}
	for _, f := range []struct {
		name string
		from time.Duration
		to   *wire.Duration
	}{{"part-timeout", r.partTimeout, &job.PartTimeout}, {"keep", r.keep, &job.Keep}} {
		if !changed(f.name) {
			continue
		}
		if *f.to = wire.Duration(f.from); f.from <= 0 {
			return usage("--%s %s: want a time above zero", f.name, f.from)
		}
	}
	return nil
}

// itemList reads --items: one JSON array, JSON values with commas between them, or texts and JSON values that have no comma.
func itemList(s string) ([]json.RawMessage, error) {
	if strings.HasPrefix(strings.TrimSpace(s), "[") && json.Valid([]byte(s)) {
		return itemArray([]byte(s))
	}
	items, notJSON := itemArray([]byte("[" + s + "]"))
	if notJSON == nil && len(items) > 0 {
		return items, nil
	}
	items = nil
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		switch {
		case part == "":
			return nil, usage("--items %q: an item is empty; write an empty text as \"\"", truncate(s, 80))
		case strings.ContainsRune(`[{"`, rune(part[0])) && !json.Valid([]byte(part)):
			return nil, usage("--items: %s begins like JSON, but is none; a text with a comma, a quote or a bracket in it is best a JSON "+
				"string, or a line of --items-file (%v)", truncate(part, 40), notJSON)
		}
		items = append(items, value(part))
	}
	return items, nil
}

// itemLines reads --items-file; empty lines are no items.
func itemLines(text []byte) ([]json.RawMessage, error) {
	text = bytes.TrimPrefix(text, []byte("\uFEFF")) // some editors put it there
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) && json.Valid(text) {
		return itemArray(text)
	}
	var items []json.RawMessage
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, wire.MaxCommand)
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		if line == "" {
			continue
		}
		if len(items) == 0 && strings.ContainsRune("[{", rune(line[0])) && !json.Valid([]byte(line)) {
			return nil, usage("--items-file: its first line, %s, begins like JSON, but is none: want one JSON array, or one item a line; "+
				"a text that begins so is a JSON string", truncate(line, 40))
		}
		items = append(items, value(line))
	}
	if err := in.Err(); err != nil {
		return nil, usage("--items-file: %v", err)
	}
	if len(items) == 0 {
		return nil, usage("--items-file holds no item")
	}
	return items, nil
}

func itemArray(text []byte) ([]json.RawMessage, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(text, &items); err != nil {
		return nil, usage("items: %v", err)
	}
	return items, nil
}

// value is s itself if it is JSON, else s as a JSON string.
func value(s string) json.RawMessage {
	if json.Valid([]byte(s)) {
		return json.RawMessage(s)
	}
	b, _ := json.Marshal(s)
	return b
}

// scriptArgs reads --args: one object, or pairs that make one.
func scriptArgs(given []string) (json.RawMessage, error) {
	if len(given) == 0 {
		return nil, nil
	}
	if len(given) == 1 && strings.HasPrefix(strings.TrimSpace(given[0]), "{") {
		if !json.Valid([]byte(given[0])) {
			return nil, usage("--args %s: is no JSON object", given[0])
		}
		return json.RawMessage(given[0]), nil
	}
	pairs, err := keyValues("--args", given)
	if err != nil {
		return nil, err
	}
	object := map[string]json.RawMessage{}
	for k, v := range pairs {
		object[k] = value(v)
	}
	return json.Marshal(object)
}

func parseRange(s string) (*wire.Range, error) {
	var n []int64
	for part := range strings.SplitSeq(s, ":") {
		v, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, usage("--range %q: want FROM:TO or FROM:TO:CHUNK", s)
		}
		n = append(n, v)
	}
	switch len(n) {
	case 2:
		return &wire.Range{From: n[0], To: n[1]}, nil
	case 3:
		if n[2] < 1 {
			return nil, usage("--range %q: CHUNK is at least 1", s)
		}
		return &wire.Range{From: n[0], To: n[1], Chunk: n[2]}, nil
	}
	return nil, usage("--range %q: want FROM:TO or FROM:TO:CHUNK", s)
}
