package recsys

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Violation is a rule that a field of the request breaks.
type Violation struct {
	Field, Description string
}

// Error is the error of a failed call. Reason is stable: compare it, not Message.
type Error struct {
	Code codes.Code
	// What happened, in words, with every broken rule.
	Message string
	// The name of the cause, such as "INVALID_FIELD"; empty if the error did not come from
	// recsys, such as "connection refused".
	Reason string
	// Every rule that the request breaks.
	Violations []Violation
	// After which time the server expects a retry to succeed; 0 if it sent no delay.
	RetryAfter time.Duration

	status *status.Status
}

// ErrorOf returns an error of gRPC as an [*Error], and any other error as it is. Client
// applies it to unary calls; apply it to errors of streams.
func ErrorOf(err error) error {
	from, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	e := &Error{Code: from.Code(), Message: from.Message(), status: from}
	for _, detail := range from.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = detail.Reason
		case *errdetails.BadRequest:
			for _, v := range detail.FieldViolations {
				e.Violations = append(e.Violations, Violation{v.Field, v.Description})
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = detail.RetryDelay.AsDuration()
		}
	}
	return e
}

func (e *Error) Error() string {
	name := strings.TrimSpace(code.Code(e.Code).String() + " " + e.Reason)
	return fmt.Sprintf("%s: %s", name, e.Message)
}

// GRPCStatus makes status.Code and status.FromError work.
func (e *Error) GRPCStatus() *status.Status {
	return e.status
}
