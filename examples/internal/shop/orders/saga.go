package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/saga"
)

// Purchase is what the saga carries from step to step. What a client sends is its
// input; Total is known from step 1 on.
type Purchase struct {
	ID      string `json:"id"`
	User    int    `json:"userId"`
	Items   []Item `json:"items"`
	Address string `json:"address,omitempty"`
	Total   int64  `json:"total,omitempty"`
}

// The steps, as the log of a saga names them.
const (
	stepCreate   = "create"
	stepPayment  = "payment"
	stepStock    = "stock"
	stepShip     = "ship"
	stepCapture  = "capture"
	stepConfirm  = "confirm"
	stepComplete = "complete"
)

// definition is an order from the click to the parcel. Payment is reserved before
// stock, so that sold out goods show how money goes back; a shop that is no demo
// would ask for the goods first, which cost nothing to reserve.
//
// Shipping is the pivot: a parcel that is on its way cannot be unsent by a program.
// What stands behind it, taking the money and the books of the warehouse, cannot be
// refused, only late, and is repeated for ever. Before it a step is repeated until
// the deadline. The undos behind the pivot are for a return alone.
func (s *Service) definition(settings wire.Settings) saga.Definition[Purchase] {
	retry := saga.Retry{Attempts: -1, Base: 50 * time.Millisecond, Cap: time.Second}
	step := func(name string, do, undo func(context.Context, *Purchase) error) saga.Step[Purchase] {
		if s.careless && name != stepCreate && undo != nil {
			undo = func(context.Context, *Purchase) error { return nil }
		}
		return saga.Step[Purchase]{Name: name, Do: do, Undo: undo, Timeout: settings.Composite, Retry: retry, UndoRetry: retry}
	}
	post := func(c *wire.Client, path string, body func(*Purchase) any) func(context.Context, *Purchase) error {
		return func(ctx context.Context, p *Purchase) error {
			return participate(ctx, c, http.MethodPost, fill(path, p), body(p))
		}
	}
	remove := func(c *wire.Client, path string) func(context.Context, *Purchase) error {
		return func(ctx context.Context, p *Purchase) error {
			return participate(ctx, c, http.MethodDelete, fill(path, p), nil)
		}
	}
	nothing := func(*Purchase) any { return nil }
	ship := step(stepShip, s.ship, remove(s.shipping, "/shipments/ID"))
	ship.Pivot = true
	// The deadline does not end a pivot that may have happened; what ends it is that
	// its tries are used up, after which it is undone like any other step.
	ship.Retry.Attempts, ship.Retry.For = 5, settings.SagaDeadline
	return saga.Definition[Purchase]{
		Name: "order", Deadline: settings.SagaDeadline,
		Steps: []saga.Step[Purchase]{
			step(stepCreate, s.create, s.reject),
			step(stepPayment, s.pay, remove(s.payments, "/reservations/ID")),
			step(stepStock, post(s.inventory, "/reservations", func(p *Purchase) any {
				return map[string]any{"orderId": p.ID, "items": quantities(p.Items)}
			}), remove(s.inventory, "/reservations/ID")),
			ship,
			step(stepCapture, post(s.payments, "/reservations/ID/capture", nothing), func(ctx context.Context, p *Purchase) error {
				return participate(ctx, s.payments, http.MethodPost, "/refunds", map[string]string{"orderId": p.ID})
			}),
			step(stepConfirm, post(s.inventory, "/reservations/ID/confirm", nothing), remove(s.inventory, "/reservations/ID")),
			step(stepComplete, s.complete, nil),
		},
	}
}

// fill puts the order's id into a path.
func fill(path string, p *Purchase) string {
	const mark = "ID"
	for i := 0; i+len(mark) <= len(path); i++ {
		if path[i:i+len(mark)] == mark {
			return path[:i] + url.PathEscape(p.ID) + path[i+len(mark):]
		}
	}
	return path
}

// quantities are items without prices, which are no business of the warehouse.
func quantities(items []Item) []Item {
	out := make([]Item, len(items))
	for i, item := range items {
		out[i] = Item{SKU: item.SKU, Qty: item.Qty}
	}
	return out
}

// create is step 1. The handler of POST /orders does it under this step's key as
// well, mostly before; whoever comes second finds it done.
func (s *Service) create(ctx context.Context, p *Purchase) error {
	prices, err := s.prices(ctx, p.Items)
	if problem, ok := errors.AsType[*wire.Problem](err); ok {
		if err := s.handle(ctx, p.ID, OrderRejected{p.User, problem.Detail, p.Items, p.Address}); err != nil {
			return err
		}
		return saga.Refuse(errors.New(problem.Detail))
	}
	if err != nil {
		return &unknown{err}
	}
	out, err := s.record(ctx, *p, prices)
	if errors.Is(err, errState) { // it has been undone already: a late repeat
		return saga.Refuse(err)
	}
	if err == nil {
		p.Total = out.State.Total
	}
	return err
}

// record appends OrderCreated under the key of step 1.
func (s *Service) record(ctx context.Context, p Purchase, prices map[string]int64) (eventsource.Outcome[Event, Order], error) {
	in := eventsource.Scope{
		Stream: p.ID, Key: saga.Call{Saga: p.ID, Step: stepCreate}.Key(), Meta: map[string]string{"correlation": p.ID},
	}
	return decider.Handle(ctx, s.log, codec, in, priced(p, prices))
}

// priced is the event that creates an order at these prices.
func priced(p Purchase, prices map[string]int64) OrderCreated {
	created := OrderCreated{Order: p.ID, User: p.User, Address: p.Address}
	for _, item := range p.Items {
		item.Cents = prices[item.SKU]
		created.Items = append(created.Items, item)
		created.Total += item.Cents * int64(item.Qty)
	}
	return created
}

// handle appends an event about an order under the key of the call that ctx is.
func (s *Service) handle(ctx context.Context, order string, e Event) error {
	_, err := decider.Handle(ctx, s.log, codec, eventsource.Scope{Stream: order, Key: saga.CallFrom(ctx).Key()}, e)
	return err
}

// reject undoes step 1: an order that was confirmed has been returned, any other is
// rejected, for the reason that the saga failed for.
func (s *Service) reject(ctx context.Context, p *Purchase) error {
	_, sum, err := s.sagas.Get(ctx, p.ID)
	if err != nil {
		return err
	}
	in := eventsource.Scope{Stream: p.ID, Key: saga.CallFrom(ctx).Key()}
	out, err := decider.Handle(ctx, s.log, codec, in, OrderRejected{p.User, sum.Cause, p.Items, p.Address})
	if errors.Is(err, errState) && out.State.Status == confirmed {
		return s.handle(ctx, p.ID, OrderReturned{})
	}
	return err
}

// pay is step 2. A customer who waits for the answer is told of the first try that
// fails: how long payments takes to recover is nothing to wait for. A refusal is no
// failure, and soon decides the order.
func (s *Service) pay(ctx context.Context, p *Purchase) error {
	err := participate(ctx, s.payments, http.MethodPost, "/reservations",
		map[string]any{"orderId": p.ID, "userId": p.User, "amountCents": p.Total})
	if _, failed := errors.AsType[*unknown](err); failed {
		s.bells.ring(p.ID)
	}
	return err
}

// ship is step 4. It sends to the address that the order has by now.
func (s *Service) ship(ctx context.Context, p *Purchase) error {
	o, _, err := eventsource.Fold(ctx, s.log, codec, eventsource.Stream(p.ID), eventsource.ReadOptions{}, Order{}, evolve)
	if err != nil {
		return err
	}
	return participate(ctx, s.shipping, http.MethodPost, "/shipments", map[string]string{"orderId": p.ID, "address": o.Address})
}

func (s *Service) complete(ctx context.Context, p *Purchase) error {
	return s.handle(ctx, p.ID, OrderConfirmed{})
}

// unknown is an outcome that nobody knows: the call is made again, under the same
// key. It hides that a client or a breaker says "do not retry", which is advice to
// callers that can give up, and keeps when to come back.
type unknown struct{ err error }

func (e *unknown) Error() string   { return e.err.Error() }
func (e *unknown) Unwrap() error   { return e.err }
func (e *unknown) Retryable() bool { return true }

// participate makes one try of a call that belongs to a step. Retries are the
// coordinator's alone, which keeps count of them over restarts.
func participate(ctx context.Context, c *wire.Client, method, path string, body any) error {
	call := saga.CallFrom(ctx)
	text, err := call.MarshalText()
	if err != nil {
		return err
	}
	r := wire.Request{
		Method: method, Path: path, Once: true,
		Header: http.Header{"Idempotency-Key": {call.Key()}, wire.HeaderSagaCall: {string(text)}},
	}
	if body != nil {
		if r.Body, err = json.Marshal(body); err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.Do(ctx, r)
	if err != nil {
		return &unknown{err}
	}
	switch answer.Status {
	case http.StatusPaymentRequired, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity:
		return saga.Refuse(errors.New(answer.Detail())) // no attempt under this key has or will have an effect
	}
	if answer.Status >= 300 {
		return &unknown{fmt.Errorf("answered %d", answer.Status)}
	}
	return nil
}
