// Package events tests events from outside: changes of images arrive at a webhook, a
// file, NATS, a queue, a topic and a bus while the server is killed and the targets are
// away; rules are made with the AWS CLI, destinations and what is dead with berth events.
//
// README.md says which test shows what. It holds tests only.
package events
