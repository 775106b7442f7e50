// Package choreography runs sagas that nobody coordinates: each service reacts to
// the events of others, and takes back what it did when it hears of a failure.
//
// The nearest thing is a handful of event handlers. The difference: the whole
// conversation is written down as data that all services share, so that a missing
// compensation is found by [Flow.Check], in a test or at start-up, and not by a
// customer.
//
//	var Order = choreography.Flow{
//		Name: "orders",
//		Participants: []choreography.Participant{
//			{Name: "order", Starts: []string{"OrderCreated"}, Reactions: []choreography.Reaction{
//				{On: "PaymentRefused", Compensates: "OrderCreated", Emits: []string{"OrderCancelled"}},
//			}},
//			{Name: "payment", Reactions: []choreography.Reaction{
//				{On: "OrderCreated", Emits: []string{"PaymentReserved"}, Fails: []string{"PaymentRefused"}},
//			}},
//		},
//		Ends: []string{"PaymentReserved", "OrderCancelled"},
//	}
//	err := Order.Check()
//
// The shape is that of Eventuate Tram's choreographed sagas; the check is a
// reachability analysis over the events, see [Flow.Check].
//
// # Orchestration or choreography
//
// Package saga keeps the state of a saga in one place and knows at any time where
// it stands; take it where a business process has an owner. Choreography has no
// owner: services stay independent and the process is spread over them; take it
// where they belong to different teams, and watch it with a [Trace].
package choreography
