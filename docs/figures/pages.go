package main

// page is a page of the documentation whose figures are those of the code.
type page struct {
	name    string
	limits  string // the section whose table has no figure but those of the phrases; "" if there is none
	phrases []phrase
}

var pages = []page{
	{"docs/messages.md", "## Limits", []phrase{
		{"A name has 1 to %n bytes", of("wire.MaxName")},
		{"above %s (%s over REST)", of("wire.MaxMessage", "httpapi.MaxMessageBody")},
		{"(%n keys for each session,", of("control/home.keptSends")},
		{"For %t after the first outcome", of("control/home.keptFor")},
		{"after %t by native components (three pings)", of("wire.DefaultPing*wire.DeadAfter")},
		{"and at least for %t from then", of("node.defaultGrace")},
		{"`?timeout=`, %t, at most %t", of("httpapi.defaultCall", "httpapi.longestCall")},
		{"the context, else %t", of("client.DefaultTimeout")},
		{"it waits up to %t (`?wait=`)", of("httpapi.defaultPoll")},
		{"gives at most %n messages (`?limit=`)", of("control/home.MaxReceive")},
		{"takes nothing for %t is closed", of("gateway/session.Write")},
		{"nobody reads holds %n messages or %s", of("sdk/python/folkmoot/session.py:MAX_INBOX", "sdk/python/folkmoot/session.py:MAX_INBOX_BYTES")},
		{"A LECO connection takes %s more", of("gateway/zmtp.MaxQueue")},

		{"| %s; over REST a body of %s, over WebSocket as text %s |", of("wire.MaxMessage", "httpapi.MaxMessageBody", "gateway/ws.maxText")},
		{"| %n; by LECO %n with the four of the header |", of("wire.MaxFrames", "gateway/zmtp.MaxFrames")},
		{"| %s, a longer one is cut", of("wire.MaxWhole")},
		{"| %n messages (%n while a connection takes from it) or %s,", of("router.MailboxMessages", "router.ConnectedMessages", "router.MailboxBytes")},
		{"| %n or %s | it is not read from", of("gateway/session.Window", "gateway/session.WindowBytes")},
		{"| %n messages or %s; those above %s are counted apart, to %s |", of("router.LinkMessages", "router.LinkBytes", "router/link.MaxBody", "router.LinkBytes")},
		{"| %t; over REST `timeout`, at most %t |", of("control/home.sendTimeout", "control/home.longestSend")},
		{"on behalf of REST calls | %n |", of("control/methods.maxCalls")},
		{"| REST %t to %t, default %t; native %t to %t, default %t |", of("control/directory.ShortestLease", "control/directory.LongestLease", "control/directory.DefaultLease",
			"wire.ShortestNativeLease", "control/directory.LongestLease", "wire.DefaultLease")},
	}},
	{"docs/protocol.md", "## 7. Limits", []phrase{
		{"the default (%n), at most %n;", of("wire.DefaultPing/s", "wire.LongestPing/s")},
		{"| length of all that follows: 27 to %n |", of("wire.MaxFrame")},
		{"length of the receiver's name (0 to %n)", of("wire.MaxFullName")},
		{"number of payload frames (0 to %n)", of("wire.MaxFrames")},
		{"together have at most %s.", of("wire.MaxMessage")},
		{"A frame longer than %s (length", of("wire.MaxWhole")},
		{"the piece, at most %s by custom", of("wire.MaxPiece")},
		{"at most %n transfers may be under way", of("wire.MaxTransfers")},
		{"for %t nothing was taken of what is to be written", of("gateway/session.Write")},
		{"no sign-in within %t", of("gateway/session.SignIn")},
		{"in exactly one of these, within %t:", of("router.Timeout")},
		{"(%n messages, %n while a connection takes from it; %s)", of("router.MailboxMessages", "router.ConnectedMessages", "router.MailboxBytes")},
		{"At most %n messages and %s of one connection wait", of("gateway/session.Window", "gateway/session.WindowBytes")},
		{"(or a batch of at most %n), at most %s;", of("wire/jsonrpc.MaxBatch", "gateway/session.RequestBytes")},
		{"in order; at most %n wait.", of("gateway/session.Requests")},
		{"`lease` is %t to %t, default %t.", of("wire.ShortestNativeLease", "control/directory.LongestLease", "wire.DefaultLease")},
		{"is a sign_in, at most %s, within %t.", of("wire.MaxFirst", "wire.SignInTime")},
		{"by full name, at most `limit` (%n)", of("control.DefaultPage")},
		{"as it is after that time (at most %ns;", of("control/work.longestJobWait/s")},
		{"one message has at most %s. The coordinator sends WebSocket pings every %t;", of("gateway/ws.maxText", "wire.DefaultPing")},

		{"| %n at once, %t each, %s a frame; of more, the oldest of the host that has most is closed |", of("gateway/session.Silent", "gateway/session.SignIn", "wire.MaxFirst")},
		{"| connections | %n |", of("gateway/session.Connections")},
		{"| %n bytes of 0x20 to 0x7E without a dot; %n |", of("wire.MaxName", "wire.MaxFullName")},
		{"| %s, %n payload frames |", of("wire.MaxMessage", "wire.MaxFrames")},
		{"| transfers in chunks at once | %n each way |", of("wire.MaxTransfers")},
		{"| a request to COORDINATOR | %s; %n waiting |", of("gateway/session.RequestBytes", "gateway/session.Requests")},
		{"on one connection | %n, %s |", of("gateway/session.Window", "gateway/session.WindowBytes")},
		{"| a mailbox | %n messages, %n while a connection takes from it; %s and one message |", of("router.MailboxMessages", "router.ConnectedMessages", "router.MailboxBytes")},
		{"| %t for each %s |", of("gateway/tcp.frameTime", "wire.readStep")},
		{"| a write to the client | %t in which none of it is taken", of("gateway/session.Write")},
	}},
	{"docs/limits.md", "## Jobs", []phrase{
		{"| jobs that are kept, ended ones included | %n |", of("control.Jobs")},
		{"| parts of one job; of all jobs that are kept | %n; %n |", of("wire.MaxParts", "control.Parts")},
		{"with names and labels | %s; %s |", of("jobs.MaxInput", "control.InputBytes")},
		{"| labels of a job | %n, each of at most %n bytes with its key |", of("wire.MaxLabels", "wire.MaxLabelSize")},
		{"| one result | %s |", of("wire.MaxResult")},
		{"in args, in an item, in a result | nested %n deep |", of("wire.MaxDepth")},
		{"with the error texts of its parts | %s (`--job-result-bytes`) |", of("control.JobResultBytes")},
		{"| the same of all jobs that are kept | %s (`--result-bytes`) |", of("control.ResultBytes")},
		{"| one error text | %s |", of("jobs.maxErrorText")},
	}},
	{"docs/limits.md", "## Components", []phrase{
		{"| components signed in | %n |", of("control.Components")},
		{"| names, labels, places and runtimes of all of them | %s |", of("control.ComponentBytes")},
		{"| labels of a component | %n, each of at most %n bytes with its key |", of("wire.MaxLabels", "wire.MaxLabelSize")},
		{"| the last %n, and the last %n that an operator removed |", of("registry.KeepEnded", "registry.KeepEnded")},
	}},
	{"docs/limits.md", "## Tokens", []phrase{
		{"| tokens in the state | %n |", of("access.MaxTokens")},
		{"| grants of one; its name | %n; %s |", of("access.MaxGrants", "access.MaxTokenName")},
		{"| tokens that are gone and remembered | the last %n |", of("access.KeepGone")},
		{"| join tokens, used ones included | %n |", of("access.MaxJoinTokens")},
		{"`busy`: they go %t after they expire", of("access.KeepJoinToken")},
		{"| how long a join token lasts | at most %t |", of("wire.MaxJoinTTL")},
	}},
	{"docs/limits.md", "## Snapshots", []phrase{
		{"| a file that is restored; uncompressed | %s; %s (`--restore-bytes`), or a quarter of the memory |", of("fsm.MaxRestoreFile", "fsm.DefaultRestoreBytes")},
	}},
	{"docs/limits.md", "## The audit trail", []phrase{
		{"| anchors of the audit trail of one coordinator | %n |", of("audit.KeptAnchors")},
		{"of which there are anchors | %n |", of("audit.KeptCoordinators")},
	}},
	{"docs/audit.md", "", []phrase{
		{"a new file at %s, of which %n are kept", of("audit/trail.MaxFile", "audit/trail.Keep")},
		{"After %n different refusals in a minute", of("audit.maxExact")},
		{"the last %n are kept, and of a trail", of("audit.KeptAnchors")},
		{"Up to %n events wait in memory", of("audit/trail.maxPending")},
	}},
	{"docs/backup.md", "", []phrase{
		{"The file has at most %s (else 413 `too_large`), and %s uncompressed", of("fsm.MaxRestoreFile", "fsm.DefaultRestoreBytes")},
	}},
	{"docs/limits.md", "## Events", []phrase{
		{"| events that a coordinator remembers | %n, and %s of them |", of("fsm.FeedSize", "fsm.FeedBytes")},
	}},
	{"docs/leco.md", "", []phrase{
		{"A sign-in is answered within %t,", of("gateway/leco.Answer")},
		{"or not made within %t. Until it is written, messages to other coordinators wait, up to %t.", of("gateway/leco.Provisional", "control/home.PostTime")},
		{"nothing for %t then; after %t it is asked for a `pong`", of("gateway/leco.Expiration*3", "gateway/leco.Expiration")},
		{"is told -32090 after %t:", of("gateway/leco.Nudge")},
		{"A message has at most %s and %n frames.", of("gateway/zmtp.MaxMessage", "gateway/zmtp.MaxFrames")},
		{"has %s of queue", of("gateway/zmtp.MaxQueue")},
		{"reads nothing for %t is cut off", of("gateway/zmtp.Patience")},
	}},
}
