package probe

// questions is the list that All asks, in its order.
var questions = []question{
	kernelQuestion,
	pidNamespaceQuestion,
	userNamespaceQuestion,
	netNamespaceQuestion,
	containerQuestion,
	capabilityQuestion,
	lockdownQuestion,
	btfQuestion,
	bpfQuestion,
	ringBufferQuestion,
	tracepointQuestion,
	cgroupQuestion,
	uprobeQuestion,
	fanotifyQuestion,
	connectorQuestion,
	sockDiagQuestion,
	sockDestroyQuestion,
}
