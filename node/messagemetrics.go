package node

import "github.com/prometheus/client_golang/prometheus"

// messageMetric is the metric that one of the router's counters is shown as.
type messageMetric struct {
	desc   *prometheus.Desc
	labels []string // values
}

var (
	messagesDesc     = desc("messages_total", "Messages sent from this coordinator, by their one outcome: together they are all messages.", "outcome")
	refusalsDesc     = desc("message_refusals_total", "Messages sent from this coordinator that were refused, by code: together they are those with outcome refused.", "code")
	retriesDesc      = desc("message_retries_total", "Messages sent once more, since their receiver had moved.")
	linkReceivedDesc = desc("link_messages_received_total", "Messages of other coordinators put into mailboxes here.")
	linkRelayedDesc  = desc("link_messages_relayed_total", "Messages sent on for other coordinators.")
	linkRejectedDesc = desc("link_messages_rejected_total", "Messages of other coordinators neither put into a mailbox here nor sent on, by reason.", "reason")
	mailboxFullDesc  = desc("mailbox_full_total", "Messages refused by full mailboxes here, of local and of linked senders.")
	unreadDesc       = desc("unread_messages_total", "Messages in the mailboxes of sessions that ended here, by what became of them: reported to their sender or not, or handed to a reader that did not acknowledge them.", "fate")
	lookupsDesc      = desc("name_lookups_total", "Reads of a fresh directory for names that the own one does not have; one serves all names that wait.")
	linksOpenedDesc  = desc("links_opened_total", "Links to other coordinators opened.")
	linksLostDesc    = desc("links_lost_total", "Links to other coordinators lost.")
	linkErrorsDesc   = desc("link_errors_total", "Links closed because of what came over them.")
)

// messageMetrics has one line for each of router.Router.Stats.
var messageMetrics = map[string]messageMetric{
	"delivered":           {messagesDesc, []string{"delivered"}},
	"receiver_unknown":    {messagesDesc, []string{"receiver_unknown"}},
	"refused":             {messagesDesc, []string{"refused"}},
	"unknown":             {messagesDesc, []string{"unknown"}},
	"refused_busy":        {refusalsDesc, []string{"busy"}},
	"refused_too_large":   {refusalsDesc, []string{"too_large"}},
	"refused_invalid":     {refusalsDesc, []string{"invalid"}},
	"refused_forbidden":   {refusalsDesc, []string{"forbidden"}},
	"refused_unavailable": {refusalsDesc, []string{"unavailable"}},
	"refused_other":       {refusalsDesc, []string{"other"}},
	"retried":             {retriesDesc, nil},
	"received_by_link":    {linkReceivedDesc, nil},
	"relayed":             {linkRelayedDesc, nil},
	"forged_sender":       {linkRejectedDesc, []string{"forged_sender"}},
	"forged_way":          {linkRejectedDesc, []string{"forged_route"}},
	"out_of_turn":         {linkRejectedDesc, []string{"out_of_order"}},
	"no_way":              {linkRejectedDesc, []string{"no_route"}},
	"receiver_moved":      {linkRejectedDesc, []string{"receiver_not_here"}},
	"mailbox_full":        {mailboxFullDesc, nil},
	"returned":            {unreadDesc, []string{"returned"}},
	"not_returned":        {unreadDesc, []string{"not_returned"}},
	"unacknowledged":      {unreadDesc, []string{"unacknowledged"}},
	"fresh_rounds":        {lookupsDesc, nil},
	"links_opened":        {linksOpenedDesc, nil},
	"links_lost":          {linksLostDesc, nil},
	"link_errors":         {linkErrorsDesc, nil},
}
