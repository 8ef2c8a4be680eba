package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/folkmoot/folkmoot/wire"
)

func (a *app) tokensCmd() *cobra.Command {
	return group("tokens", "Who may do what", a.tokensNewCmd(), a.tokensCreateCmd(), a.tokensListCmd(), a.tokensGetCmd(), a.tokensRevokeCmd(), a.tokensJoinCmd(), a.tokensSelfCmd())
}

// tokensNewCmd makes a token for the token file of coordinators; it asks nobody.
func (a *app) tokensNewCmd() *cobra.Command {
	var hash bool
	cmd := &cobra.Command{
		Use: "new", Short: "Print a fresh token for --token-file of coordinators; it asks nobody", Args: cobra.NoArgs,
		Long: "Prints a fresh secret of 256 bits. A coordinator whose --token-file has it, or its hash, lets whoever sends it do everything.\n" +
			"With --hash the line for that file goes to stderr: then coordinators need not hold the token itself.",
		Example:           "  raftctl tokens new >token && chmod 600 token\n  raftctl tokens new --hash >token 2>token-hash",
		PersistentPreRunE: func(*cobra.Command, []string) error { a.started = true; return nil },
		RunE: func(*cobra.Command, []string) error {
			token := newSecret()
			if hash {
				sum := sha256.Sum256([]byte(token))
				fmt.Fprintln(a.err, wire.TokenHashPrefix+hex.EncodeToString(sum[:]))
			}
			_, err := fmt.Fprintln(a.out, token)
			return err
		},
	}
	cmd.Flags().BoolVar(&hash, "hash", false, "print the line with its SHA-256 to stderr")
	return cmd
}

// newSecret returns a token of 256 bits.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return wire.TokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}
