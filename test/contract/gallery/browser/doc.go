// Package browser drives a real Chromium for tests of web pages: it opens pages,
// clicks, types and reads them as a person would, looks at them as a screen reader
// does, and says what went wrong in them.
//
// [Start] starts Debian's Chromium through a Node.js script beside this file,
// drive.mjs, with playwright-core; scripts/install-test-deps.sh installs both.
// Script and test speak JSON, one line a command and one an answer. A browser
// and all its processes end with the test, also when the test fails or is killed.
//
// A page reaches the hosts that [Options] name and nothing else: what it asks for
// elsewhere is refused and recorded, see [Page.Events]. Names that end in .test are
// this machine.
//
// What the pages are and what they must do, the tests say; nothing here knows a
// page of Berth's. It is test-support code, which is why it imports testing
// outside a _test file, and it runs on Linux only.
package browser
