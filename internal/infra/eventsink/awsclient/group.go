package awsclient

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/berth-registry/berth/internal/infra/eventsink"
)

// maxGroup is the longest message group id of FIFO queues and topics, in characters.
const maxGroup = 128

// IsFIFO says whether a queue or topic is a FIFO one, which its name tells.
func IsFIFO(name string) bool { return strings.HasSuffix(name, ".fifo") }

// Group is the message group id: what the rule's target says, else the message's group,
// so that the events of a repository keep their order. Names of repositories may be
// longer than an id, and are hashed then; events of no repository share a group.
func Group(m eventsink.Message) string {
	group := m.Group
	switch {
	case m.Parameters.MessageGroupID != "":
		group = m.Parameters.MessageGroupID
	case group == "" && m.Source != "":
		group = m.Source
	case group == "":
		group = "events"
	}
	if len(group) > maxGroup {
		sum := sha256.Sum256([]byte(group))
		group = "sha256-" + hex.EncodeToString(sum[:])
	}
	return group
}
