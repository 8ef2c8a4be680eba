package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/wire"
)

// runFlags are a job on the command line.
type runFlags struct {
	runtime, items, itemsFile, span, id, name, group string
	args, labels                                     []string
	priority, parallel, attempts                     int
	timeout, partTimeout, keep                       time.Duration
	follow                                           bool
}

func (a *app) jobsRunCmd() *cobra.Command {
	var r runFlags
	cmd := &cobra.Command{
		Use: "run SCRIPT", Short: "Hand in a script and what to run it over", Args: cobra.ExactArgs(1),
		Long: "Runs SCRIPT (a file, - is standard input) once for every item. python3 scripts define part(item) or part(item, args);\n" +
			"sh scripts read the item from stdin, $ITEM_FILE or $ITEM (up to 64 KiB) and write the result to stdout.\n\n" +
			"An item or value that reads as JSON is JSON, anything else is text. With --follow it prints the results and exits 1 if\n" +
			"the job did not end as done.",
		Example: "  raftctl jobs run square.py --items 1,2,3 --follow\n" +
			"  raftctl jobs run fetch.sh --items-file urls.txt --parallel 4 --follow\n" +
			"  raftctl jobs run sum.py --range 0:1000:50 --args base=10",
		RunE: func(cmd *cobra.Command, args []string) error {
			script, err := a.readFile(args[0])
			if err != nil {
				return usage("%v", err)
			}
			job, err := r.job(a, args[0], string(script), cmd.Flags().Changed("priority"))
			if err != nil {
				return err
			}
			return a.submit(cmd.Context(), job, r.follow)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.runtime, "runtime", "", "python3 or sh; default: by the script's extension")
	f.StringVar(&r.items, "items", "", "items, separated by commas, or one JSON array")
	f.StringVar(&r.itemsFile, "items-file", "", "file with one item a line, or one JSON array")
	f.StringVar(&r.span, "range", "", "FROM:TO[:CHUNK] instead of items: a part for every CHUNK numbers")
	f.StringArrayVar(&r.args, "args", nil, "KEY=VALUE, or one JSON object; the script's args; may be repeated")
	f.StringVar(&r.id, "id", "", "id of the job: the same id twice is the same job")
	f.StringVar(&r.name, "name", "", "name of the job; default: the script's")
	f.StringVar(&r.group, "group", "", "jobs of one group run one at a time")
	f.StringArrayVar(&r.labels, "label", nil, "KEY=VALUE that a worker must carry; may be repeated")
	f.IntVar(&r.priority, "priority", 50, "0 to 100, higher is first")
	f.IntVar(&r.parallel, "parallel", 0, "at most so many parts at once; 0 is no limit")
	f.IntVar(&r.attempts, "max-attempts", 0, "tries of a part before the job fails")
	f.DurationVar(&r.timeout, "job-timeout", 0, "end of the whole job")
	f.DurationVar(&r.partTimeout, "part-timeout", 0, "end of one try of a part")
	f.DurationVar(&r.keep, "keep", 0, "how long to keep the job after its end")
	f.BoolVarP(&r.follow, "follow", "f", false, "wait for the end and print the results")
	cmd.RegisterFlagCompletionFunc("runtime", cobra.FixedCompletions([]string{"python3", "sh"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (r runFlags) job(a *app, file, script string, priority bool) (wire.SubmitJob, error) {
	job := wire.SubmitJob{
		ID: r.id, Name: r.name, Runtime: r.runtime, Script: script, Group: r.group, Parallel: r.parallel,
		MaxAttempts: r.attempts, Timeout: wire.Duration(r.timeout), PartTimeout: wire.Duration(r.partTimeout), Keep: wire.Duration(r.keep),
	}
	if job.Name == "" && file != "-" {
		job.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	}
	if job.Runtime == "" {
		job.Runtime = map[string]string{".py": "python3", ".sh": "sh"}[filepath.Ext(file)]
		if job.Runtime == "" {
			return job, usage("--runtime is needed: %s has neither .py nor .sh at its end", file)
		}
	}
	if priority {
		job.Priority = &r.priority
	}
	var err error
	if job.Labels, err = keyValues("--label", r.labels); err != nil {
		return job, err
	}
	if job.Args, err = scriptArgs(r.args); err != nil {
		return job, err
	}
	given := 0
	for _, s := range []string{r.items, r.itemsFile, r.span} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return job, usage("want one of --items, --items-file and --range")
	}
	switch {
	case r.span != "":
		job.Range, err = parseRange(r.span)
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

// itemList reads --items.
func itemList(s string) ([]json.RawMessage, error) {
	if strings.HasPrefix(strings.TrimSpace(s), "[") {
		return itemArray([]byte(s))
	}
	var items []json.RawMessage
	for part := range strings.SplitSeq(s, ",") {
		items = append(items, value(strings.TrimSpace(part)))
	}
	return items, nil
}

// itemLines reads --items-file; empty lines are no items.
func itemLines(text []byte) ([]json.RawMessage, error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) && json.Valid(text) {
		return itemArray(text)
	}
	var items []json.RawMessage
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, wire.MaxCommand)
	for in.Scan() {
		if line := strings.TrimSpace(in.Text()); line != "" {
			items = append(items, value(line))
		}
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
		return &wire.Range{From: n[0], To: n[1], Chunk: n[2]}, nil
	}
	return nil, usage("--range %q: want FROM:TO or FROM:TO:CHUNK", s)
}
