def test_x(tiny_artifacts, tiny, evaluate):
    import numpy as np
    f = evaluate(tiny.float_program, tiny.inputs)[0]; q = evaluate(tiny.graph, tiny.inputs)[0]
    print(10*np.log10((f**2).sum()/((f-q)**2).sum()), tiny.warnings)
    print(tiny_artifacts)
    assert 0
