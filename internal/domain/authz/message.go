package authz

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// message is what DecodeAuthorizationMessage shows of a refusal (STS API
// reference): whether a statement denied it, which, and what was asked.
type message struct {
	Allowed           bool             `json:"allowed"`
	ExplicitDeny      bool             `json:"explicitDeny"`
	MatchedStatements messageItems     `json:"matchedStatements"`
	Failures          messageItems     `json:"failures"`
	Context           messageQuestions `json:"context"`
}

type messageItems struct {
	Items []messageStatement `json:"items"`
}

type messageStatement struct {
	StatementID string `json:"statementId"`
	Effect      string `json:"effect"`
	Policy      string `json:"policy"`
	Index       int    `json:"index"`
}

type messageQuestions struct {
	Principal struct {
		ID  string `json:"id"`
		ARN string `json:"arn"`
	} `json:"principal"`
	Action   string `json:"action"`
	Resource string `json:"resource"`
	// Reason is ours: the end of the sentence that the caller was given.
	Reason string `json:"reason"`
}

// messagePurpose names the key.
const messagePurpose = "authorization messages"

func messageSeal(m keys.Manager) (cipher.AEAD, error) {
	key, err := m.Derive(messagePurpose, 32)
	if err != nil {
		return nil, fmt.Errorf("the keyring cannot derive the key for %s: %w", messagePurpose, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// encodeMessage seals what made a refusal: who was refused must not read which
// policies there are, unless it may call DecodeAuthorizationMessage.
func (s *Service) encodeMessage(who *subject, q *policy.Request, d policy.Decision) (string, error) {
	m := message{ExplicitDeny: d.Explicit, MatchedStatements: messageItems{Items: []messageStatement{}}, Failures: messageItems{Items: []messageStatement{}}}
	if d.Statement >= 0 && d.Policy != "" {
		m.MatchedStatements.Items = append(m.MatchedStatements.Items, messageStatement{StatementID: d.Sid, Effect: "DENY", Policy: d.Policy, Index: d.Statement})
	}
	m.Context.Principal.ID, m.Context.Principal.ARN = who.ID, who.ARN
	m.Context.Action, m.Context.Resource, m.Context.Reason = q.Action, q.Resource, because(d, q.Action)
	text, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	// It speaks of the policies of one account, and only that account reads it.
	owner := who.Account
	if arn, err := name.ParseARN(q.Resource); err == nil && d.By == policy.ResourceSide && arn.Account != "" {
		owner = arn.Account
	}
	return base64.RawURLEncoding.EncodeToString(s.message.Seal(nil, nil, text, messageContext(owner))), nil
}

func messageContext(owner name.AccountID) []byte {
	return []byte(messagePurpose + " of " + string(owner))
}

// DecodeMessage opens an encoded authorization message for a caller of the
// account whose policies it speaks of: the one that owns the resource where its
// policy decided, the refused principal's otherwise. It returns the message's
// JSON, or errs.AuthorizationMessage for text that is none of this account's.
func (s *Service) DecodeMessage(account name.AccountID, encoded string) (string, error) {
	invalid := errs.New(errs.AuthorizationMessage, "The authorization message is invalid: it does not belong to this account, or was changed.")
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", invalid
	}
	text, err := s.message.Open(nil, nil, sealed, messageContext(account))
	if err != nil {
		return "", invalid
	}
	return string(text), nil
}
