package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/client"
)

func (a *app) jobsLogsCmd() *cobra.Command {
	var follow bool
	var part int
	cmd := &cobra.Command{
		Use: "logs ID", Short: "Print what a job's parts wrote", Args: cobra.ExactArgs(1),
		Long: "Prints what the parts of a job wrote to stdout and stderr (sh: stderr), each line behind its part's number; with\n" +
			"--part the output of one part as it is.",
		Example:           "  raftctl jobs logs quality --follow\n  raftctl jobs logs quality --part 3",
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			lines := map[int]*bytes.Buffer{} // begun, not ended, by part
			for chunk, err := range a.client.Logs(cmd.Context(), args[0], part, follow) {
				if err != nil {
					if cmd.Context().Err() != nil {
						return nil
					}
					return err
				}
				if err := a.showLog(chunk, part >= 0, lines); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended")
	cmd.Flags().IntVar(&part, "part", -1, "only of this part, as it is")
	cmd.Flags().Lookup("part").DefValue = "all"
	return cmd
}

func (a *app) showLog(c client.LogChunk, plain bool, lines map[int]*bytes.Buffer) error {
	if a.flags.output == "json" {
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return writeJSON(a.out, b)
	}
	if plain {
		_, err := a.out.Write(c.Data)
		return err
	}
	b := lines[c.Part]
	if b == nil {
		b = &bytes.Buffer{}
		lines[c.Part] = b
	}
	b.Write(c.Data)
	for {
		line, err := b.ReadBytes('\n')
		if err != nil && (!c.End || len(line) == 0) {
			b.Write(line) // comes again with its end
			break
		}
		if _, err := fmt.Fprintf(a.out, "%d| %s\n", c.Part, bytes.TrimRight(line, "\r\n")); err != nil {
			return err
		}
	}
	if c.Cut {
		fmt.Fprintf(a.err, "part %d wrote too much: some of it is left out\n", c.Part)
	}
	return nil
}
