module github.com/keelson-go/keelson/eventsource/messaging/messagingamqp

go 1.26.0

require (
	github.com/keelson-go/keelson v0.0.0
	github.com/rabbitmq/amqp091-go v1.16.0
)

replace github.com/keelson-go/keelson => ../../..
