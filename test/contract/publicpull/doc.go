// Package publicpull shows what people see of public registries who use docker and other
// registry clients: pulls without a login, pushes with and without one, logins that are
// too old, and refusals for pulling too much.
//
// It holds tests only. The wire itself is in test/contract/oci.
package publicpull
