package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/folkmoot/folkmoot/wire"
	"github.com/folkmoot/folkmoot/wire/strictjson"
)

func (a *app) jobsSubmitCmd() *cobra.Command {
	var id string
	var follow bool
	cmd := &cobra.Command{
		Use: "submit FILE", Short: "Hand in a job from a JSON or YAML file", Args: cobra.ExactArgs(1),
		Long:        "Hands in the job that FILE (- is standard input) holds as JSON or YAML, with the fields of POST /v1/jobs.",
		Example:     "  raftctl jobs submit quality.yaml --follow\n  raftctl jobs submit - < quality.json",
		Annotations: map[string]string{fileArgs: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			job, err := parseJob(text)
			if err != nil {
				return usage("%s: %v", args[0], err)
			}
			if id != "" {
				job.ID = id
			}
			return a.submit(cmd.Context(), job, follow)
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "id of the job: the same id twice is the same job (default: the file's, or a new one)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for the end and print the results")
	return cmd
}

// submit hands a job in, and with follow stays until its end.
func (a *app) submit(ctx context.Context, job wire.SubmitJob, follow bool) error {
	j, meta, err := a.client.Submit(ctx, job)
	if err != nil {
		return err
	}
	known := ""
	if j.Known && job.ID != "" {
		known = fmt.Sprintf(", known since %s ago: it is not run again", a.age(j.Submitted))
	}
	if follow {
		if known != "" {
			fmt.Fprintf(a.err, "job %s %s%s\n", j.ID, j.State, known)
		}
		return a.follow(ctx, j)
	}
	return a.done(meta.Body, "job/"+j.ID, "job %s %s, %d parts%s", j.ID, j.State, j.Parts.Total, known)
}

// readFile reads a file of text, - is standard input.
func (a *app) readFile(name string) (text []byte, err error) {
	if name == "-" {
		name = "standard input"
		text, err = io.ReadAll(a.in)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, usage("%v", err)
	}
	return text, checkText(name, text)
}

// parseJob reads a job from YAML, of which JSON is a part; words it does not know are refused.
func parseJob(text []byte) (wire.SubmitJob, error) {
	var job wire.SubmitJob
	if !json.Valid(text) {
		var tree any
		if err := yaml.Unmarshal(text, &tree); err != nil {
			return job, err
		}
		if err := checkTree("", tree); err != nil {
			return job, err
		}
		var err error
		if text, err = json.Marshal(tree); err != nil {
			return job, err
		}
	}
	if err := strictjson.Decode(text, &job); err != nil {
		return job, fmt.Errorf("job: %w", err)
	}
	if err := wire.CheckZeros(text); err != nil {
		return job, fmt.Errorf("job: %w", err)
	}
	return job, nil
}
