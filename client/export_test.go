package client

// NewConversation is for tests.
var NewConversation = newConversation
