package organization

import (
	"crypto/rand"
	"math/big"
	"strings"
)

// idAlphabet is what AWS's ids for organizations are made of.
const idAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

// newID makes a random id in AWS's form: the prefix and n letters or digits.
func newID(prefix string, n int) string {
	var b strings.Builder
	b.WriteString(prefix)
	for range n {
		// It never fails: crypto/rand ends the program instead.
		i, _ := rand.Int(rand.Reader, big.NewInt(int64(len(idAlphabet))))
		b.WriteByte(idAlphabet[i.Int64()])
	}
	return b.String()
}

func newOrganizationID() string { return newID("o-", 10) }
func newRootID() string         { return newID("r-", 4) }
func newPolicyID() string       { return newID("p-", 8) }

// newUnitID makes an id that shows which root the unit is under, as AWS's do.
func newUnitID(root string) string {
	return newID("ou-"+strings.TrimPrefix(root, "r-")+"-", 8)
}
