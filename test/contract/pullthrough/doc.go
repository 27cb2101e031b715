// Package pullthrough tests the pull-through cache from outside: the built binary
// between clients and real upstreams (Debian's distribution registry, one that asks
// for tokens, another Berth, other registries of the same deployment), what a pull
// takes of permissions, and that upstreams which fail or lie harm nothing.
//
// What the API of the rules refuses is tested in test/contract/aws, clients of others in
// test/contract/clients. It holds tests only; README.md says which test shows what.
package pullthrough
