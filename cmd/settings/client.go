package settings

import (
	"fmt"

	"github.com/folkmoot/folkmoot/client"
)

// Client is how a program reaches coordinators.
type Client struct {
	Addr             string
	Token, TokenFile string
	CA, Cert, Key    string
}

// Declare declares the settings of c. Of a token and a token file the one from
// the nearer source is used.
func (c *Client) Declare(s *Set) {
	s.StringVar(&c.Addr, "addr", client.DefaultAddr, "coordinators, host:port,...: tried in turn")
	s.StringVar(&c.Token, "token", "", "bearer token (better: --token-file)")
	s.StringVar(&c.TokenFile, "token-file", "", "file that holds the bearer token: its first line that is no comment (#); read again when it changes")
	s.StringVar(&c.CA, "ca", "", "PEM file of the CA to trust; makes https the default")
	s.StringVar(&c.Cert, "cert", "", "PEM file of the client certificate")
	s.StringVar(&c.Key, "key", "", "PEM file of the client key")
	s.Variables("ca", "FOLKMOOT_CACERT")
	s.Variables("cert", "FOLKMOOT_CLIENT_CERT")
	s.Variables("key", "FOLKMOOT_CLIENT_KEY")
	s.Secret("token")
	s.Exclusive("token", "token-file")
}

// Config returns the configuration of a client. It reads the files that c names;
// its errors name the flag.
func (c *Client) Config() (client.Config, error) {
	file := c.TokenFile
	switch {
	case c.Token != "":
		file = ""
	case file != "":
		if _, err := client.ReadTokenFile(file); err != nil {
			return client.Config{}, fmt.Errorf("--token-file: %w", err)
		}
	}
	tls, err := client.LoadTLS(c.CA, c.Cert, c.Key)
	if err != nil {
		return client.Config{}, fmt.Errorf("--ca/--cert/--key: %w", err)
	}
	return client.Config{Addrs: client.SplitAddrs(c.Addr), Token: c.Token, TokenFile: file, TLS: tls}, nil
}
