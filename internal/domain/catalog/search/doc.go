// Package search is the index behind the gallery's search: which public repositories
// have the words that somebody looks for, in which order, and how many of them each
// filter would leave. It is in memory, of any number of readers and one writer at a time.
//
// It owns words, ranking, filters and counts. It knows no database: whoever has one
// (domain/catalog/gallery) hands in documents and takes the ids of the hits.
//
// # Words
//
// Text is folded: compatibility forms are taken apart (NFKD), accents dropped, letters
// made lower case. Words are runs of letters and digits; Chinese characters and Japanese
// syllables are words of their own, since nothing stands between them. Names are cut at
// their slashes, dots, hyphens and underscores like any other text.
//
// A query has MaxWords words at most. A word is found exactly; the last one, which may
// still be being typed, as a beginning too; and where that finds fewer than a page, with a
// typing error: one change (a letter more, less, other, or two swapped) in words of 4
// letters and more, two from 8 on, none in words with digits, which are versions. All
// words must be there, each somewhere in the document. When no document has them all,
// those that have the most are the hits.
//
// # Order
//
// A word is worth more the better it matches and the more prominent the place: exact,
// beginning, typing error; name, publisher, description. A word counts once for a
// document, at its best place. A name that consists of the query's words comes first, and
// among equals one of which they are the larger part. Then the more downloads, then the
// smaller id, so that the order is always the same.
//
// # Memory
//
// Documents are kept in two segments that never change: one with almost everything and a
// small one with what came since, which is made anew with every change; the documents of
// the small one are kept to make it from. A segment is some large arrays without pointers: per
// document fixed columns, and per word the list of its documents, in variable lengths. A
// short document (a name of two words, a publisher, a line of description) takes some 100
// bytes. Nothing holds a reader up: a change makes a new state and puts it in place.
package search
