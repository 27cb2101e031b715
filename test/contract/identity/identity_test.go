package identity

import "testing"

// TestIdentity runs everything against one server.
func TestIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	t.Run("beside each other", func(t *testing.T) {
		t.Run("CrossAccount", func(t *testing.T) { t.Parallel(); crossAccount(t, w) })
		t.Run("CrossAccountByCrane", func(t *testing.T) { t.Parallel(); crossAccountByCrane(t, w) })
		t.Run("WebIdentity", func(t *testing.T) { t.Parallel(); webIdentity(t, w) })
		t.Run("WebIdentityByTheCLI", func(t *testing.T) { t.Parallel(); webIdentityByCLI(t) })
		t.Run("AtOnce", func(t *testing.T) { t.Parallel(); atOnce(t, w) })
		for _, g := range groups() {
			t.Run(g.title, func(t *testing.T) { g.run(t, w) })
		}
	})
	w.MustFsck(t)
}
