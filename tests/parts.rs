//! A file in parts, by the live kernel: bounded memory, a deadline, an early end.

use std::ops::ControlFlow;

use ctlens::kernel::{Errno, Kernel, Live, Script};
use ctlens::model::Moment;

const MOST: usize = 64 * 1024;

fn read(
    kernel: &mut dyn Kernel,
    path: &str,
    deadline: Moment,
    most_parts: usize,
) -> (Vec<Vec<u8>>, Result<(), Errno>) {
    let mut parts = Vec::new();
    let result = kernel.read_parts(path, deadline, &mut |part| {
        parts.push(part.to_vec());
        if parts.len() < most_parts {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    (parts, result)
}

#[test]
fn parts_make_the_whole_until_the_deadline() {
    let mut live = Live::open(None).expect("no namespace is entered");
    let path = std::env::temp_dir().join(format!("ctlens-parts-{}", std::process::id()));
    let content: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &content).expect("a temporary file");
    let name = path.to_str().expect("a plain name");
    let later = live.now().plus_secs(60.0);

    let (parts, result) = read(&mut live, name, later, usize::MAX);
    assert_eq!((parts.concat(), result), (content.clone(), Ok(())));
    assert!(parts.iter().all(|part| part.len() <= MOST) && parts.len() > 3);
    let (parts, result) = read(&mut live, name, later, 2);
    assert_eq!((parts.len(), result), (2, Ok(())));
    // What came before the deadline was looked at is handed on.
    let (parts, result) = read(&mut live, name, Moment::default(), usize::MAX);
    assert_eq!((parts.len(), result), (1, Err(Errno::ETIMEDOUT)));
    assert!(content.starts_with(&parts[0]));

    let mut script = Script::new(Box::new(live)).refuse_file(name, Errno::EACCES);
    let (parts, result) = read(&mut script, name, later, usize::MAX);
    assert_eq!((parts.len(), result), (0, Err(Errno::EACCES)));
    std::fs::remove_file(&path).expect("the temporary file goes");
    let (_, result) = read(&mut script, "/no/such/file", later, 1);
    assert_eq!(result, Err(Errno::ENOENT));
}
