package jsonrpc

// ParseBare is the fast path of Parse.
var ParseBare = parseBare
