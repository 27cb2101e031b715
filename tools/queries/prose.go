package main

// What the page says in words.

const head = `# The queries and their plans

<!-- Made by make queries; do not edit. -->

This page shows every statement of the paths that have to be quick, with the plan by which PostgreSQL %d ran it on a database of a
million images. ` + "`make queries`" + ` makes it anew: it fills a database, runs the whole program on it, calls it over HTTP as docker and the
AWS CLI do (as an IAM user with a managed policy), and takes the statements and their plans from the server's own log (` + "`auto_explain`" + `):
what stands here is what was run, not what ` + "`EXPLAIN`" + ` would say of it. It is not part of ` + "`make test`" + `.

Before each operation the program's clock went on by three seconds, so that nothing was fresh enough to be used without asking the
database whether it still holds. Within two seconds of the last request like it, the questions after the access key and after the
revisions of the account, the registry, the repository's access and the quotas are spared.

Everything was done twice, once with plans made for the values at hand and once with generic ones: PostgreSQL chooses between the two for a
prepared statement by itself. Where they differ, both are shown. The operations ran on the largest repository, of 100,000 images.
Planner settings are the preset ones, save ` + "`random_page_cost = 1.1`" + ` (for SSDs), ` + "`effective_cache_size = 2GB`" + `, ` + "`jit = off`" + ` and no parallel workers, which would hide how
much is read.

`

const summaryHead = `
## Summary

*Statements*: how many, and after the plus those that PostgreSQL runs itself for foreign keys. *Rows written* counts both. *Largest read*:
the scan that looked at the most rows, and how many. *By index*: whether every scan of a big table enters it by an index and reads about
what it returns, and nothing longer than a page is sorted. For background work the numbers are those of one transaction, the largest, and differ a
little from run to run.

| operation | statements | rows written | largest read | by index |
|---|---|---|---|---|
`

const pullsText = `
## A pull writes nothing

The %d operations under Pull and Lists above executed no INSERT, UPDATE or DELETE, and no SELECT that locks rows, in none of the two rounds;
the program that makes this page fails if one does. What a pull leaves behind (the image's last pull
time, the use of the access key, the audit record) is kept in memory and written later by others: *pull times*, *use of access keys* and
*audit* under Background.
`

const eachHead = `
## Operations

The statements of each in the order in which they came first, by their numbers in the list below.
`

const catalogueHead = `
## Statements

Every statement with the nodes of its plan from the outside in; ← is what a node reads from, and the number in brackets how many rows a scan
gave, in the execution that read the most (*n of m*: it looked at m and kept n). Lists of values are written ` + "`IN ($…)`" + `.

`

// accepted says of operations that read much why they may.
var accepted = map[string]string{
	"lifecycle: read a repository of 10,000 images": "A policy looks at all images of its repository, so this reads all of them, once in each run. No request waits for it.",
	"DeleteRepository with 689 images":              "One DELETE, which PostgreSQL follows to the rows of every image by their indexes: it grows with the repository, and has to.",
	"audit: a batch of records":                     "Records that come together are one row with an entry of an index for each value that they are found by; others are rows of their own. After the requests were answered.",
	"lifecycle: find policies to run":               "Once an hour, for all repositories together: it goes through the policies, which are few beside the images, by pages.",
}
